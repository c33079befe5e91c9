"""Products of weights as 16-bit integers with Q16 activations: a tile of rows by many tokens.

Such a product is exact in a group of 128, and loses nothing that matters of what is multiplied. Two multiply-adds of
int16 (`vpmaddwd`) replace four of float32, and where bytes have no instruction of their own (AVX2: `vpmaddubsw`, which
saturates) they are also faster than bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..blocks.parts import Part
from ..simd.instruction_set import InstructionSet
from .int16_weights import DEPTH, ROW_GROUP, int16_bytes
from .panels import BAND, in_panels
from .q16_activations import GROUP, LINE, SCALE

MORE = -1  # in place of the address of biases: sums start from what is there


def band_dot(v: InstructionSet) -> Any:
    """`(tiles, k, x, x_stride, tokens, bias, y, y_stride)`: BAND rows in the tiles of `int16_weights` by all tokens.

    `bias` is the address of a float32 for each row, 0 for none. Strides are in bytes.
    """
    lanes, most, tile_bytes = v.LANES, v.FLOAT_TILES, v.jitable(int16_bytes)

    def panel_of(count: int) -> Any:
        several = _panel(v, count, most)

        def over_tiles(t, x, x_stride, depth, bias, y, y_stride, tiles, stride):
            x, y, width = x + t * x_stride, y + t * y_stride, 4 * lanes if bias > 0 else 0
            for n in range(0, BAND // lanes, most):
                several(tiles + stride * n, stride, depth, x, x_stride, bias + width * n, y + 4 * lanes * n, y_stride)

        return over_tiles

    panels = in_panels(v, v.FLOAT_TOKENS, panel_of)

    def dot_band(tiles, k, x, x_stride, tokens, bias, y, y_stride):
        for at in range(0, k, DEPTH):
            depth, start = min(DEPTH, k - at), MORE if at > 0 else bias
            panels(tokens, x, x_stride, depth, start, y, y_stride, tiles, tile_bytes(lanes, depth))
            tiles += tile_bytes(BAND, depth)
            x += LINE * (DEPTH // GROUP)

    return v.jitable(dot_band)


class _Sums(NamedTuple):
    """Vectors for each of a few tokens and tiles, `y` (tokens, tiles * LANES) in memory.

    `zeros()` of int32, `nothing()` of float32; `loads(y, stride)` and `stores(y, sums, stride)` of float32.
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


def _panel(v: InstructionSet, tokens: int, tiles: int) -> Any:
    """Some tiles by a few tokens, whose sums stay in registers: y (tokens, tiles * LANES) = bias + tiles @ x.

    Tiles are `stride` bytes apart. `bias` 0 is none, MORE what y holds. A pair of activations that is loaded is used
    for all tiles.
    """
    f32, size, scales_at = v.f32, ROW_GROUP * v.LANES, 2 * GROUP * v.LANES
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

    def run(tile, stride, depth, x, x_stride, bias, y, y_stride):
        sums = nothing()
        if bias < 0:
            sums = loads(y, y_stride)
        elif bias > 0:
            sums = loads(bias, 0)
        for at in range(0, depth, GROUP):
            totals = dot(zeros(), min(GROUP, depth - at) // 2, tile, stride, x, x_stride)
            sums = scaled(sums, totals, x, x_stride, tile + scales_at, stride)
            tile += size
            x += LINE
        stores(y, sums, y_stride)

    return v.jitable(run)


def _dot(v: InstructionSet, tokens: int, tiles: int) -> Any:
    """`(totals, pairs, weights, stride, x, x_stride)` -> totals (int32) + pairs of weights times pairs of int16."""
    i32, i16, lanes = v.i32, v.Vec("i16", 2 * v.LANES), v.LANES
    rows = v.unroll_map(tiles, lambda j, w, stride: v.load(i16, w + stride * j))
    times = v.unroll_map(tiles, lambda j, totals, w, x: v.dot2(v.tuple_get(totals, j), v.tuple_get(w, j), x))
    every = v.unroll_map(
        tokens,
        lambda t, totals, w, x, stride: times(
            v.tuple_get(totals, t), w, v.bitcast(i16, v.load_splat(i32, x + t * stride))
        ),
    )

    def run(totals, pairs, w, stride, x, x_stride):
        for i in range(pairs):
            totals = every(totals, rows(w + 4 * lanes * i, stride), x + 4 * i, x_stride)
        return totals

    return v.jitable(run)
