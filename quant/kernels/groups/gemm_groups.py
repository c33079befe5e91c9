"""Products of many tokens whose weights and activations have one scale for 256 columns: a tile of rows by many tokens.

Floats are touched once for so many products. How the integers of a group are made and multiplied is said by
`GroupProducts`; here is the order in which groups of rows and tokens meet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...blocks.parts import IntegerParts
from ...format import Format
from ...simd.instruction_set import InstructionSet
from ..panels import BAND, GROUP, PASS_TOKENS, in_panels
from ..q8_activations import BLOCK

DEPTH = 512  # weights of a row that are unpacked at once


class GroupProducts(NamedTuple):
    """How a group of a tile is multiplied by the groups of some tokens.

    The last group of a row may have fewer weights, a multiple of 32. `size` is a group's bytes in a tile, `line` in a
    record, of which the scale is at `scale`. `widen(bytes, blocks, target)` makes so many times 32 weights of the tile,
    as `IntegerParts.unpack` leaves them, a group, with the rows' scales at `row_scale`. `totals_of(tokens)` is
    `(tile, depth, x, x_stride)` -> for each token the rows' sums, int32.
    """

    size: int
    line: int
    scale: int
    row_scale: int
    widen: Any
    totals_of: Callable[[int], Any]


def group_scale(v: InstructionSet, parts: IntegerParts) -> Any:
    """`(bytes, blocks)`: the greatest magnitude of the scales of each row of a tile; NaN where one is not finite."""
    f32, lanes, size, scales = v.f32, v.LANES, parts.tile_bytes(v.LANES), parts.scales

    def run(source, blocks):
        most, odd = v.zero(f32), v.zero(f32)
        for b in range(blocks):
            for i in range(scales):
                scale = v.load(f32, source + size * b + lanes * (32 + 4 * i))
                most, odd = v.maximum(v.absolute(scale), most), odd + (scale - scale)
        return most + odd

    return v.jitable(run)


def scale_factor(v: InstructionSet) -> Any:
    """`(scale, inverse)` -> the scale times what `inverse_factor` gives, rounded: int16, twice in a lane."""
    i32, i16 = v.i32, v.Vec("i16", 2 * v.LANES)

    def run(scale, inverse):
        one = v.to_i32(i32, v.round_even(inverse * scale))
        return v.bitcast(i16, one & 0xFFFF | one << 16)

    return v.jitable(run)


def inverse_factor(v: InstructionSet, most: int) -> Any:
    """`(greatest)` -> `most` / greatest, 0 where that is 0."""
    f32 = v.f32
    return v.jitable(lambda x: v.select_gt(x, v.zero(f32), v.splat(f32, most) / x, v.zero(f32)))


def tiles_dot(v: InstructionSet, fmt: type[Format], unpack_rows: Any, products: GroupProducts) -> Any:
    """`(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch)`: tiles of LANES rows by all tokens.

    `unpack_rows` as `gemm_integer.batch_dot` takes it. Strides are in bytes.
    """
    block, nbytes, lanes, size = fmt.block, fmt.nbytes, v.LANES, products.size
    unpack, widen, band, groups = v.jitable(unpack_rows), products.widen, BAND // v.LANES, DEPTH // GROUP
    panels, line_bytes = _panels(v, products), products.line

    @v.jitable
    def fill(rows, row_bytes, first, depth, tile, spare, ahead):
        for at in range(0, depth, GROUP):
            some = min(GROUP, depth - at)
            unpack(rows, row_bytes, (first + at) // block, some // block, spare, ahead + at // block * nbytes)
            widen(spare, some // BLOCK, tile + size * (at // GROUP))

    def dot_tiles(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch):
        next_y = y_stride if tokens > PASS_TOKENS else 0
        for at in range(0, k, DEPTH):
            depth = min(DEPTH, k - at)
            for n in range(tiles):
                rows = weights + lanes * row_bytes * n
                ahead = rows + lanes * row_bytes + at // block * nbytes
                if n + 1 == tiles:
                    ahead = weights + (at + depth) // block * nbytes
                fill(rows, row_bytes, at, depth, scratch + size * groups * n, scratch + size * groups * tiles, ahead)
            line = x + at // GROUP * line_bytes
            for t in range(0, tokens, PASS_TOKENS):
                for n in range(0, tiles, band):
                    few, some, out = min(PASS_TOKENS, tokens - t), min(band, tiles - n), y + t * y_stride
                    tile, first = scratch + size * groups * n, out + 4 * lanes * n
                    panels(few, line + t * x_stride, x_stride, depth, first, y_stride, next_y, at, some, tile)

    return v.jitable(dot_tiles)


def _panels(v: InstructionSet, products: GroupProducts) -> Any:
    """`(tokens, x, x_stride, depth, y, y_stride, next_y, at, tiles, scratch)`: a few tiles by tokens.

    `next_y` is y_stride where the sums of the tokens behind a panel's are to be asked for, else 0.
    """
    lanes, size, line, groups = v.LANES, products.size, products.line, DEPTH // GROUP

    def panel_of(count: int) -> Any:
        group = _group(v, products, count)
        fetch_next = v.unroll_map(count, lambda t, y, stride: v.prefetch(y + t * stride))

        def over_tiles(t, x, x_stride, depth, y, y_stride, next_y, at, tiles, scratch):
            first, y = x + t * x_stride, y + t * y_stride
            for n in range(tiles):
                out, tile = y + 4 * lanes * n, scratch + size * groups * n
                if next_y > 0:
                    fetch_next(out + count * next_y, y_stride)
                for g in range(0, depth, GROUP):
                    more, some = at + g > 0, min(GROUP, depth - g)
                    group(tile + size * (g // GROUP), some, first + g // GROUP * line, x_stride, out, y_stride, more)

        return over_tiles

    return in_panels(v, v.TOKENS, panel_of)


def _group(v: InstructionSet, products: GroupProducts, tokens: int) -> Any:
    """`(tile, depth, x, x_stride, y, y_stride, more)`: y (tokens, LANES) = or, with `more`, += a group @ x."""
    f32, scale_at, row_scale, totals = v.f32, products.scale, products.row_scale, products.totals_of(tokens)

    def scaled(t, found, d, x, x_stride, y, y_stride, more):
        sums = v.zero(f32)
        if more:
            sums = v.load(f32, y + t * y_stride)
        scale = d * v.load_splat(f32, x + t * x_stride + scale_at)
        v.store(y + t * y_stride, v.fma(scale, v.to_f32(f32, v.tuple_get(found, t)), sums))

    finish = v.unroll_map(tokens, scaled)

    def run(tile, depth, x, x_stride, y, y_stride, more):
        found = totals(tile, depth, x, x_stride)
        finish(found, v.load(f32, tile + row_scale), x, x_stride, y, y_stride, more)

    return v.jitable(run)
