"""Products of interleaved tiles of byte weights: a tile of LANES rows by one token, or unpacked for a batch."""

from __future__ import annotations

from typing import Any

from ..blocks.parts import IntegerParts
from ..format import Format
from ..simd.instruction_set import InstructionSet
from .gemm_integer import batch_dot, panel_group, panel_group_of_two, panel_minima
from .interleave import tile_intrinsics, unpack_of
from .panels import panel_sums
from .q8_activations import BLOCK, LINE

AHEAD = 2048  # bytes in front of what is computed with that are asked for
SINGLE_TILES = 16  # up to so many tokens, one tile is read to its end before the next, in one stream


def tile_dot(v: InstructionSet, fmt: type[Format], parts: IntegerParts) -> Any:
    """`(tile, k, x, y, scratch)`: y (LANES,) float32 = the tile of LANES rows times one token's Q8 record.

    Weights stay in registers; the scales of a block go through `scratch`. Panels of several tokens in the same manner
    were up to 1.4 times as fast as unpacking the tile, but tripled the time to compile.
    """
    f32, lanes, size, groups = v.f32, v.LANES, parts.tile_bytes(v.LANES), fmt.block // BLOCK
    nbytes, lines = fmt.nbytes * v.LANES, fmt.nbytes * v.LANES // 64 + 1
    own = fmt.kernels(tile_intrinsics(v)).tile
    unit, tile_scales, tile_weights = own.unit, v.jitable(own.scales), v.jitable(own.weights)
    scales = v.unroll_map(parts.scales, lambda j, p: v.load(f32, p + 4 * lanes * (8 + j)))
    group = (panel_group_of_two if parts.scales == 2 else panel_group)(v, parts, 1)
    minima, (zeros, _, stores) = panel_minima(v, parts, 1), panel_sums(v, 1)

    def step_of(i: int) -> Any:
        def step(sums, p, n, at, x):
            at, x = at + size * i, x + LINE * i
            return minima(group(sums, tile_weights(p, 0, n, i), scales(at), x, 0), at, x, 0)

        return v.jitable(step)

    steps = v.fold_parts([step_of(i) for i in range(unit)])

    def run(tile, k, x, y, scratch):
        sums = zeros(y, 0)
        for _ in range(k // (BLOCK * groups)):
            for line in range(lines):
                v.prefetch(tile + AHEAD + 64 * line)
            p = tile // lanes
            tile_scales(p, 0, scratch)
            for n in range(groups // unit):
                sums = steps(sums, p, n, scratch + size * unit * n, x)
                x += LINE * unit
            tile += nbytes
        stores(sums, y, 0)

    return v.jitable(run)


def tiles_by_tokens(v: InstructionSet, fmt: type[Format], parts: IntegerParts) -> Any:
    """`(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch)`: as `gemm_integer.tiles_dot`."""
    lanes, nbytes, unpack = v.LANES, fmt.nbytes * v.LANES, unpack_of(v, fmt)
    lines, size = nbytes // 64 + 1, fmt.block // BLOCK * parts.tile_bytes(lanes)

    def unpack_rows(tile, row_bytes, first, blocks, target, ahead):
        for b in range(blocks):
            for line in range(lines):
                v.prefetch(tile + (first + b) * nbytes + AHEAD + 64 * line)
            unpack(tile + (first + b) * nbytes, target + b * size)

    batch = batch_dot(v, fmt, parts, unpack_rows)

    dot = tile_dot(v, fmt, parts)

    def run(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch):
        if tokens > 1:
            some = tiles if tokens > SINGLE_TILES else 1
            for n in range(0, tiles, some):
                at, out = weights + lanes * row_bytes * n, y + 4 * lanes * n
                batch(at, row_bytes, k, x, x_stride, tokens, out, y_stride, some, scratch)
        else:
            for n in range(tiles):
                dot(weights + lanes * row_bytes * n, k, x, y + 4 * lanes * n, scratch)

    return v.jitable(run)
