"""Groups of six bits as bytes: scales of 16 weights are integers too, which the step to 32 bits multiplies by.

A weight less 32 is -32 .. 31, so the sum of 8 products fits 16 bits; what takes such sums to 32 bits, two by two, is a
multiplication anyway.
"""

from __future__ import annotations

from typing import Any

from ...blocks.parts import IntegerParts
from ...simd.instruction_set import InstructionSet
from ..panels import GROUP
from ..q8_activations import BLOCK, PAIR_SHIFT
from .gemm_groups import GroupProducts, group_scale, inverse_factor, scale_factor
from .q8k_activations import LINE, PAIRS, SCALE

SCALE_MOST = 2032  # of 2^15 * 8 * 2 * 16 in sums; a multiple of 127 keeps most scales of Q6_K as they are


def byte_products(v: InstructionSet, parts: IntegerParts) -> GroupProducts:
    """Of a tile: as it was unpacked, but scales as pairs of equal int16; then the rows' scales."""
    assert parts.bits == 6 and parts.shift == PAIR_SHIFT and parts.scales == 2 and not parts.signed
    scale = GROUP // BLOCK * parts.tile_bytes(v.LANES)
    widen = _with_integer_scales(v, parts, scale)
    return GroupProducts(scale + 4 * v.LANES, LINE, SCALE, scale, widen, lambda tokens: _totals(v, parts, tokens))


def _with_integer_scales(v: InstructionSet, parts: IntegerParts, scale_at: int) -> Any:
    f32, i32, lanes, size = v.f32, v.i32, v.LANES, parts.tile_bytes(v.LANES)
    greatest, inverse_of, factor = group_scale(v, parts), inverse_factor(v, SCALE_MOST), scale_factor(v)
    copy = v.unroll_map(8, lambda j, x, target: v.store(target + 4 * lanes * j, v.load(i32, x + 4 * lanes * j)))

    def run(source, blocks, target):
        most = greatest(source, blocks)
        v.store(target + scale_at, most * (1 / SCALE_MOST))
        inverse = inverse_of(most)
        for _ in range(blocks):
            copy(source, target)
            for at in (32 * lanes, 36 * lanes):
                v.store(target + at, factor(v.load(f32, source + at), inverse))
            source += size
            target += size

    return v.jitable(run)


def _totals(v: InstructionSet, parts: IntegerParts, tokens: int) -> Any:
    i32, lanes, size = v.i32, v.LANES, parts.tile_bytes(v.LANES)
    zeros = v.unroll_map(tokens, lambda t: v.zero(i32))
    half = v.scaled_dot(tokens, 4)

    def run(tile, depth, x, x_stride):
        totals, pairs = zeros(), x + PAIRS
        for _ in range(depth // BLOCK):
            totals = half(totals, tile, tile + 32 * lanes, x, pairs, x_stride)
            totals = half(totals, tile + 16 * lanes, tile + 36 * lanes, x + 16, pairs + 4, x_stride)
            tile += size
            x += BLOCK
            pairs += 8
        return totals

    return v.jitable(run)
