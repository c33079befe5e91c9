"""Products of byte weights and Q16 activations: a tile of rows by many tokens, weights as 16-bit integers.

Such a product is exact in its group of 32, as it is with Q8 activations, and loses nothing that matters of what is
multiplied. Where bytes have no instruction of their own (AVX2: `vpmaddubsw`, which saturates), it is also faster.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..blocks.parts import IntegerParts, Part
from ..format import Format
from ..simd.instruction_set import InstructionSet
from .panels import BAND, fetch_rows, in_panels
from .q16_activations import BLOCK, LINE, SCALE, SCALED, SCALED_LOW
from .unpack_by_rows import unpack_by_rows, without_spare

DEPTH = 384  # weights of a row that are unpacked at once, at most: a band of them leaves room in the L1 cache
MORE = -1  # in place of the address of biases: sums start from what is there


def tiles_dot(v: InstructionSet, fmt: type[Format], parts: IntegerParts) -> Any:
    """`(weights, row_bytes, k, x, x_stride, tokens, bias, y, y_stride, tiles, scratch)`: tiles of rows by all tokens.

    `bias` is the address of a float32 for each row, 0 for none. Strides are in bytes. In `scratch`, a tile of LANES
    rows has for every 32 weights 16 vectors of pairs of int16 (lane = row, 2 consecutive weights), then scales and
    minima as `IntegerParts.unpack` writes them.
    """
    block, nbytes, lanes, fetch, most = fmt.block, fmt.nbytes, v.LANES, fetch_rows(v), v.FLOAT_TILES
    unpack = unpack_by_rows(v, parts) if parts.unpack is None else without_spare(v, parts.unpack)
    narrow, size, widen, band = parts.tile_bytes(lanes), group_bytes(v, parts), _widen(v, parts), BAND // lanes
    stretch = DEPTH // block * block

    @v.jitable
    def fill(rows, row_bytes, blocks, tile, spare, ahead):
        for b in range(blocks):
            fetch(ahead, row_bytes, b * nbytes, (b + 1) * nbytes)
            unpack(rows + b * nbytes, row_bytes, spare, spare + block // BLOCK * narrow)
            for g in range(block // BLOCK):
                widen(spare + narrow * g, tile + size * (block // BLOCK * b + g))

    def panel_of(count: int) -> Any:
        one = _panel(v, parts, count, 1)
        several = _panel(v, parts, count, most) if most > 1 else one

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


def _widen(v: InstructionSet, parts: IntegerParts) -> Any:
    """`(source, target)`: bytes of 32 weights of a tile as int16, less their offset; scales and minima as they are."""
    lanes, i32, f32, words = v.LANES, v.i32, v.f32, v.Vec("i16", 2 * v.LANES)
    signed, offset = parts.signed and not v.FLIP_SIGNED, 1 << parts.shift if parts.shift >= 0 else 0
    if parts.signed and v.FLIP_SIGNED:
        offset = 128
    even = v.jitable(
        (lambda x: v.shift_signed(x << 8, 8)) if signed else (lambda x: (x & 0xFF) - offset)  # bytes 0 and 2 of four
    )
    odd = v.jitable((lambda x: v.shift_signed(x, 8)) if signed else (lambda x: (x >> 8) - offset))

    def four(j, source, target):
        both = v.bitcast(words, v.load(i32, source + 4 * lanes * j))
        first, second = v.bitcast(i32, even(both)), v.bitcast(i32, odd(both))
        v.store(target + 8 * lanes * j, first & 0xFFFF | second << 16)
        v.store(target + 8 * lanes * j + 4 * lanes, first >> 16 | second & -65536)

    every = v.unroll_map(8, four)
    copy = v.unroll_map(
        parts.tile_bytes(lanes) // (4 * lanes) - 8,
        lambda j, source, target: v.store(target + 4 * lanes * j, v.load(f32, source + 4 * lanes * j)),
    )

    def run(source, target):
        every(source, target)
        copy(source + 32 * lanes, target + 64 * lanes)

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


def _panel(v: InstructionSet, parts: IntegerParts, tokens: int, tiles: int) -> Any:
    """Some tiles by a few tokens, whose sums stay in registers: y (tokens, tiles * LANES) = bias + tiles @ x.

    `bias` 0 is none, MORE what y holds. A pair of activations that is loaded is used for all tiles.
    """
    f32, lanes, size, scales = v.f32, v.LANES, group_bytes(v, parts), parts.scales
    zeros, nothing, loads, stores = _sums(v, tokens, tiles)
    dot, minima = _dot(v, tokens, tiles, 16 // scales), _minima(v, parts, tokens, tiles)
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
            for part in range(scales):
                totals = dot(zeros(), tile + 64 * lanes // scales * part, stride, x + 64 // scales * part, x_stride)
                sums = scaled(sums, totals, x, x_stride, tile + 64 * lanes + 4 * lanes * part, stride)
            sums = minima(sums, tile, stride, x, x_stride)
            tile += size
            x += LINE
        stores(y, sums, y_stride)

    return v.jitable(run)


def _dot(v: InstructionSet, tokens: int, tiles: int, pairs: int) -> Any:
    """`(totals, weights, stride, x, x_stride)` -> totals (int32) + so many pairs of weights times pairs of words."""
    i32, words, lanes = v.i32, v.Vec("i16", 2 * v.LANES), v.LANES
    rows = v.unroll_map(tiles, lambda j, w, stride: v.load(words, w + stride * j))
    times = v.unroll_map(tiles, lambda j, totals, w, x: v.dot2(v.tuple_get(totals, j), v.tuple_get(w, j), x))
    every = v.unroll_map(
        tokens,
        lambda t, totals, w, x, stride: times(
            v.tuple_get(totals, t), w, v.bitcast(words, v.load_splat(i32, x + t * stride))
        ),
    )

    def run(totals, w, stride, x, x_stride):
        for i in range(pairs):
            totals = every(totals, rows(w + 4 * lanes * i, stride), x + 4 * i, x_stride)
        return totals

    return v.jitable(run)


def _minima(v: InstructionSet, parts: IntegerParts, tokens: int, tiles: int) -> Any:
    """`(sums, tile, stride, x, x_stride)` -> sums + minima of the rows times the scaled sums of the activations."""
    f32, lanes, first = v.f32, v.LANES, 4 * v.LANES * (16 + parts.scales)
    if parts.row_min is None:
        return v.jitable(lambda sums, tile, stride, x, x_stride: sums)
    if parts.minima == 1:
        one = v.unroll_map(
            tiles, lambda j, sums, m, stride, s: v.fma(s, v.load(f32, m + stride * j), v.tuple_get(sums, j))
        )
        every = v.unroll_map(
            tokens,
            lambda t, sums, m, stride, x, x_stride: one(
                v.tuple_get(sums, t), m, stride, v.load_splat(f32, x + t * x_stride + SCALED)
            ),
        )
    else:
        two = v.unroll_map(
            tiles,
            lambda j, sums, m, stride, low, high: v.fma(
                low,
                v.load(f32, m + stride * j),
                v.fma(high, v.load(f32, m + 4 * lanes + stride * j), v.tuple_get(sums, j)),
            ),
        )

        @v.jitable
        def of_halves(sums, m, stride, x):
            low = v.load_splat(f32, x + SCALED_LOW)
            return two(sums, m, stride, low, v.load_splat(f32, x + SCALED) - low)

        every = v.unroll_map(
            tokens, lambda t, sums, m, stride, x, x_stride: of_halves(v.tuple_get(sums, t), m, stride, x + t * x_stride)
        )
    return v.jitable(lambda sums, tile, stride, x, x_stride: every(sums, tile + first, stride, x, x_stride))
