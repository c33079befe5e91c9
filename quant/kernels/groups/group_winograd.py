"""Winograd's inner product for groups of signed bytes: weights and activations as 16-bit integers.

Winograd 1968: w1 x1 + w2 x2 = (w1 + x2) (w2 + x1) - w1 w2 - x1 x2, so two products take one multiplication, and what is
subtracted depends on a row or a token alone. All of it is exact modulo 2^32, and what is left fits 32 bits. A CPU that
has no instruction for products of signed bytes gains by it, and activations lose less than as bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...blocks.parts import IntegerParts
from ...simd.instruction_set import InstructionSet
from ..panels import GROUP
from ..q8_activations import BLOCK
from .gemm_groups import GroupProducts, group_scale, inverse_factor, scale_factor
from .winograd_activations import CORRECTION, LINE, SCALE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STEPS = 8  # fours of weights that are multiplied between two jumps
WEIGHT_MOST = 4096  # of a byte of -128 in the block of the group's greatest scale


def weights_reference(q: NDArray[np.int8], d: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """What weights become: bytes q (rows, k) with scales d (rows, k / 32) -> integers (rows, k), scales (rows, groups).

    Scales are finite.
    """
    import numpy as np

    rows, k = q.shape
    groups, per_group = -(-k // GROUP), GROUP // BLOCK
    scales = np.zeros((rows, groups * per_group), np.float32)
    scales[:, : k // BLOCK] = d
    scales = scales.reshape(rows, groups, per_group)
    most = np.abs(scales).max(-1)
    inverse = np.divide(np.float32(WEIGHT_MOST), most, out=np.zeros_like(most), where=most > 0)
    factors = np.rint(scales * inverse[..., None]).astype(np.int32).reshape(rows, -1)[:, : k // BLOCK]
    products = q.astype(np.int32) * np.repeat(factors, BLOCK, axis=1)
    return (products + 64 >> 7).astype(np.int16), most * np.float32(128 / WEIGHT_MOST)


def winograd_products(v: InstructionSet, parts: IntegerParts) -> GroupProducts:
    """Of a tile: for every four weights a vector of the first and the third of each row, then of the second and the
    fourth; then the rows' scales, and minus the sums of products of neighbours of each row.
    """
    scale = 2 * GROUP * v.LANES
    correction = scale + 4 * v.LANES
    widen = _widen(v, parts, scale, correction)
    return GroupProducts(
        correction + 4 * v.LANES, LINE, SCALE, scale, widen, lambda tokens: _totals(v, tokens, correction)
    )


def _widen(v: InstructionSet, parts: IntegerParts, scale_at: int, correction_at: int) -> Any:
    f32, i32, i16, lanes = v.f32, v.i32, v.Vec("i16", 2 * v.LANES), v.LANES
    size, scales, greatest = parts.tile_bytes(lanes), 32 * lanes, group_scale(v, parts)
    inverse_of, factor = inverse_factor(v, WEIGHT_MOST), scale_factor(v)

    def four(j, correction, source, target, by):
        both = v.bitcast(i16, v.load(i32, source + 4 * lanes * j))
        first, second = v.mul_round(both << 8, by), v.mul_round(both & -256, by)
        v.store(target + 8 * lanes * j, first)
        v.store(target + 8 * lanes * j + 4 * lanes, second)
        return v.dot2(correction, first, second)

    eight = v.unroll_fold(8, four)

    def run(source, blocks, target):
        most, correction = greatest(source, blocks), v.zero(i32)
        v.store(target + scale_at, most * (128 / WEIGHT_MOST))
        inverse = inverse_of(most)
        for b in range(blocks):
            by = factor(v.load(f32, source + size * b + scales), inverse)
            correction = eight(correction, source + size * b, target + 64 * lanes * b, by)
        v.store(target + correction_at, v.zero(i32) - correction)

    return v.jitable(run)


def _totals(v: InstructionSet, tokens: int, correction: int) -> Any:
    i32, steps = v.i32, v.sums_dot(tokens, STEPS)
    starts = v.unroll_map(tokens, lambda t, row, x, stride: row + v.load_splat(i32, x + t * stride + CORRECTION))

    def run(tile, depth, x, x_stride):
        totals = starts(v.load(i32, tile + correction), x, x_stride)
        for _ in range(depth // (4 * STEPS)):
            totals = steps(totals, tile, x, x_stride)
            tile += 8 * v.LANES * STEPS
            x += 8 * STEPS
        return totals

    return v.jitable(run)
