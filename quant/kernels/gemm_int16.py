"""Products of weights of 8 bits and Q16 activations: a tile of rows by many tokens, weights as 16-bit integers.

Such a product is exact in its group of 32, as it is with Q8 activations, and loses nothing that matters of what is
multiplied. Where bytes have no instruction of their own (AVX2: `vpmaddubsw`, which saturates), it is also faster.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..blocks.parts import IntegerParts, Part
from ..format import Format
from ..simd.instruction_set import InstructionSet
from .panels import BAND, fetch_rows, in_panels
from .q16_activations import BLOCK, LINE, SCALE

DEPTH = 384  # weights of a row that are unpacked at once, at most: a band of them leaves room in the L1 cache
MORE = -1  # in place of the address of biases: sums start from what is there


def tiles_dot(v: InstructionSet, fmt: type[Format], parts: IntegerParts) -> Any:
    """`(weights, row_bytes, k, x, x_stride, tokens, bias, y, y_stride, tiles, scratch)`: tiles of rows by all tokens.

    `bias` is the address of a float32 for each row, 0 for none. Strides are in bytes. In `scratch`, a tile of LANES
    rows has for every 32 weights 16 vectors of pairs of int16 (lane = row, 2 consecutive weights), then a vector of
    scales.
    """
    block, nbytes, lanes, fetch, most = fmt.block, fmt.nbytes, v.LANES, fetch_rows(v), v.FLOAT_TILES
    assert parts.unpack and parts.signed and parts.scales == 1 and parts.row_min is None
    unpack = v.jitable(parts.unpack)
    narrow, size, widen, band = parts.tile_bytes(lanes), group_bytes(v, parts), _widen(v), BAND // lanes
    stretch = DEPTH // block * block

    @v.jitable
    def fill(rows, row_bytes, blocks, tile, spare, ahead):
        for b in range(blocks):
            fetch(ahead, row_bytes, b * nbytes, (b + 1) * nbytes)
            unpack(rows + b * nbytes, row_bytes, spare)
            for g in range(block // BLOCK):
                widen(spare + narrow * g, tile + size * (block // BLOCK * b + g))

    def panel_of(count: int) -> Any:
        one = _panel(v, size, count, 1)
        several = _panel(v, size, count, most) if most > 1 else one

        def over_tiles(t, x, x_stride, groups, bias, y, y_stride, tiles, scratch):
            n, x, y, width = 0, x + t * x_stride, y + t * y_stride, 4 * lanes if bias > 0 else 0
            while n + most <= tiles:
                several(scratch + size * groups * n, groups, x, x_stride, bias + width * n, y + 4 * lanes * n, y_stride)
                n += most
            while n < tiles:
                one(scratch + size * groups * n, groups, x, x_stride, bias + width * n, y + 4 * lanes * n, y_stride)
                n += 1

        return over_tiles

    panels = in_panels(v, v.FLOAT_TOKENS, panel_of)

    def dot_tiles(weights, row_bytes, k, x, x_stride, tokens, bias, y, y_stride, tiles, scratch):
        for at in range(0, k, stretch):
            depth = min(stretch, k - at)
            groups = depth // BLOCK
            for n in range(tiles):
                rows = weights + lanes * row_bytes * n + at // block * nbytes
                ahead = rows + lanes * row_bytes if n + 1 < tiles else weights + (at + depth) // block * nbytes
                fill(
                    rows, row_bytes, depth // block, scratch + size * groups * n, scratch + size * groups * tiles, ahead
                )
            for n in range(0, tiles, band):
                out, first, some = y + 4 * lanes * n, scratch + size * groups * n, min(band, tiles - n)
                start = MORE if at > 0 else bias + 4 * lanes * n if bias != 0 else 0
                panels(tokens, x + at // BLOCK * LINE, x_stride, groups, start, out, y_stride, some, first)

    return v.jitable(dot_tiles)


def group_bytes(v: InstructionSet, parts: IntegerParts) -> int:
    """Bytes of a tile for 32 weights of each row."""
    return 32 * v.LANES + parts.tile_bytes(v.LANES)


def _widen(v: InstructionSet) -> Any:
    """`(source, target)`: signed bytes of 32 weights of a tile as int16, their scales as they are."""
    lanes, i32, f32, i16 = v.LANES, v.i32, v.f32, v.Vec("i16", 2 * v.LANES)
    if v.FLIP_SIGNED:  # bytes have 128 added
        even, odd = v.jitable(lambda x: (x & 0xFF) - 128), v.jitable(lambda x: (x >> 8) - 128)
    else:
        even, odd = v.jitable(lambda x: v.shift_signed(x << 8, 8)), v.jitable(lambda x: v.shift_signed(x, 8))

    def four(j, source, target):
        both = v.bitcast(i16, v.load(i32, source + 4 * lanes * j))
        first, second = v.bitcast(i32, even(both)), v.bitcast(i32, odd(both))  # bytes 0 and 2 of four, and 1 and 3
        v.store(target + 8 * lanes * j, first & 0xFFFF | second << 16)
        v.store(target + 8 * lanes * j + 4 * lanes, first >> 16 | second & -65536)

    every = v.unroll_map(8, four)

    def run(source, target):
        every(source, target)
        v.store(target + 64 * lanes, v.load(f32, source + 32 * lanes))

    return v.jitable(run)


class _Sums(NamedTuple):
    """Vectors for each of a few tokens and tiles, `y` (tokens, tiles * LANES) in memory.

    `zeros()` of int32; `loads(y, stride)` and `stores(y, sums, stride)` of float32.
    """

    zeros: Part
    nothing: Part
    loads: Part
    stores: Part


def _sums(v: InstructionSet, tokens: int, tiles: int) -> _Sums:
    f32, i32, width = v.f32, v.i32, 4 * v.LANES
    zero, none = v.unroll_map(tiles, lambda j: v.zero(i32)), v.unroll_map(tiles, lambda j: v.zero(f32))
    load = v.unroll_map(tiles, lambda j, y: v.load(f32, y + width * j))
    store = v.unroll_map(tiles, lambda j, y, sums: v.store(y + width * j, v.tuple_get(sums, j)))
    return _Sums(
        v.unroll_map(tokens, lambda t: zero()),
        v.unroll_map(tokens, lambda t: none()),
        v.unroll_map(tokens, lambda t, y, stride: load(y + t * stride)),
        v.unroll_map(tokens, lambda t, y, sums, stride: store(y + t * stride, v.tuple_get(sums, t))),
    )


def _panel(v: InstructionSet, size: int, tokens: int, tiles: int) -> Any:
    """Some tiles by a few tokens, whose sums stay in registers: y (tokens, tiles * LANES) = bias + tiles @ x.

    `size`: bytes of a tile for a group. `bias` 0 is none, MORE what y holds. A pair of activations that is loaded is
    used for all tiles.
    """
    f32, scales_at = v.f32, 64 * v.LANES
    zeros, nothing, loads, stores = _sums(v, tokens, tiles)
    dot = _dot(v, tokens, tiles)
    scale = v.unroll_map(
        tiles,
        lambda j, sums, totals, x, d, stride: v.fma(
            x * v.load(f32, d + stride * j), v.to_f32(f32, v.tuple_get(totals, j)), v.tuple_get(sums, j)
        ),
    )
    scaled = v.unroll_map(
        tokens,
        lambda t, sums, totals, x, x_stride, d, stride: scale(
            v.tuple_get(sums, t), v.tuple_get(totals, t), v.load_splat(f32, x + t * x_stride + SCALE), d, stride
        ),
    )

    def run(tile, groups, x, x_stride, bias, y, y_stride):
        sums, stride = nothing(), size * groups
        if bias < 0:
            sums = loads(y, y_stride)
        elif bias > 0:
            sums = loads(bias, 0)
        for _ in range(groups):
            sums = scaled(sums, dot(zeros(), tile, stride, x, x_stride), x, x_stride, tile + scales_at, stride)
            tile += size
            x += LINE
        stores(y, sums, y_stride)

    return v.jitable(run)


def _dot(v: InstructionSet, tokens: int, tiles: int) -> Any:
    """`(totals, weights, stride, x, x_stride)` -> totals (int32) + 16 pairs of weights times pairs of int16."""
    i32, i16, lanes = v.i32, v.Vec("i16", 2 * v.LANES), v.LANES
    rows = v.unroll_map(tiles, lambda j, w, stride: v.load(i16, w + stride * j))
    times = v.unroll_map(tiles, lambda j, totals, w, x: v.dot2(v.tuple_get(totals, j), v.tuple_get(w, j), x))
    every = v.unroll_map(
        tokens,
        lambda t, totals, w, x, stride: times(
            v.tuple_get(totals, t), w, v.bitcast(i16, v.load_splat(i32, x + t * stride))
        ),
    )

    def run(totals, w, stride, x, x_stride):
        for i in range(16):
            totals = every(totals, rows(w + 4 * lanes * i, stride), x + 4 * i, x_stride)
        return totals

    return v.jitable(run)
