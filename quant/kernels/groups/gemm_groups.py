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
from ..panels import BAND, GROUP, PASS_TOKENS, SUM_BYTES, TILE_BYTES, in_panels
from ..q8_activations import BLOCK


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

    `unpack_rows` as `gemm_integer.batch_dot` takes it. Strides are in bytes. Sums lie together until the last group,
    unless they are too many: where rows of y are a power of two apart, they would meet in few cache sets.
    """
    block, nbytes, lanes, size, band = fmt.block, fmt.nbytes, v.LANES, products.size, BAND // v.LANES
    unpack, widen, panels, write = v.jitable(unpack_rows), products.widen, _panels(v, products), _write(v)
    line_bytes = products.line

    @v.jitable
    def fill(weights, row_bytes, at, depth, tiles, target):
        spare = target + size * tiles
        for n in range(tiles):
            rows = weights + lanes * row_bytes * n
            ahead = rows + lanes * row_bytes + at // block * nbytes
            if n + 1 == tiles:
                ahead = weights + (at + depth) // block * nbytes
            unpack(rows, row_bytes, at // block, depth // block, spare, ahead)
            widen(spare, depth // BLOCK, target + size * n)

    def dot_tiles(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch):
        sums, stride, next_band = y, y_stride, 4 * lanes * band
        together = 4 * lanes * tiles * tokens <= SUM_BYTES
        if together:
            sums, stride, next_band = scratch + TILE_BYTES, 4 * lanes * band, 4 * lanes * band * tokens
        for at in range(0, k, GROUP):
            depth = min(GROUP, k - at)
            fill(weights, row_bytes, at, depth, tiles, scratch)
            line = x + at // GROUP * line_bytes
            for t in range(0, tokens, PASS_TOKENS):
                few, first = min(PASS_TOKENS, tokens - t), line + t * x_stride
                for n in range(0, tiles, band):
                    out, tile = sums + t * stride + n // band * next_band, scratch + size * n
                    panels(few, first, x_stride, depth, out, stride, at > 0, min(band, tiles - n), tile)
        if together:
            write(sums, tokens, tiles, y, y_stride)

    return v.jitable(dot_tiles)


def _write(v: InstructionSet) -> Any:
    """`(sums, tokens, tiles, y, y_stride)`: the sums of all tokens, band by band of rows, to rows of y."""
    f32, lanes, band = v.f32, v.LANES, BAND // v.LANES

    def run(sums, tokens, tiles, y, y_stride):
        for n in range(0, tiles, band):
            for t in range(tokens):
                for i in range(min(band, tiles - n)):
                    v.store(y + t * y_stride + 4 * lanes * (n + i), v.load(f32, sums + 4 * lanes * i))
                sums += 4 * lanes * band

    return v.jitable(run)


def _panels(v: InstructionSet, products: GroupProducts) -> Any:
    """`(tokens, x, x_stride, depth, y, y_stride, more, tiles, scratch)`: a group of a few tiles by tokens."""
    lanes, size = v.LANES, products.size

    def panel_of(count: int) -> Any:
        group = _group(v, products, count)

        def over_tiles(t, x, x_stride, depth, y, y_stride, more, tiles, scratch):
            first, y = x + t * x_stride, y + t * y_stride
            for n in range(tiles):
                group(scratch + size * n, depth, first, x_stride, y + 4 * lanes * n, y_stride, more)

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
