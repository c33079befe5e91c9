"""Matrix products of weights and activations as 16-bit integers, in tiles of rows for every number of tokens.

Such a product is exact in a group, and loses nothing that matters of what is multiplied. Where bytes have no
instruction of their own (AVX2: `vpmaddubsw`, which saturates) it is also faster than one of bytes. There it is one of
sums, which takes half the multiplications (Winograd 1968, see `groups.group_winograd`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..blocks.parts import Part
from ..format import Format
from ..jit.kernel import kernel
from ..simd.instruction_set import InstructionSet
from .int16_weights import int16_bytes, set_for_int16
from .interleave import MOST_LANES
from .panels import BAND, in_panels
from .q16_activations import BLOCK, GROUP, LINE, q16_bytes

X86 = frozenset({"avx2", "avxvnni", "avx512"})  # where int16 are multiplied at half the rate of bytes, or faster
STEPS = 8  # fours of weights that are multiplied between two jumps
AHEAD = 6  # cache lines of the next weights that every few tokens ask for: all of them in a batch of 256
MORE = -1  # in place of the address of biases: sums start from what is there


def use_int16(fmt: type[Format], rows: int, k: int, isa: str) -> bool:
    """Whether `matmul_int16` is worth its time on an instruction set, and takes a matrix of `rows` rows of `k` weights.

    Weights of fewer than 8 bits lose more than activations of 8 bits do, and are faster as bytes; float32 has more than
    16 bits; on ARM bytes are four times as fast. Imports no Numba.
    """
    bits = 8 * fmt.nbytes // fmt.block
    return isa in X86 and 8 <= bits <= 16 and rows % MOST_LANES == 0 and k % BLOCK == 0


@kernel("tokens weights x y rows k y_stride bias")
def matmul_int16(v: InstructionSet) -> Any:
    """y (tokens, rows) = x (tokens, k) @ weights (rows, k).T + bias, for weights in the tiles of `int16_weights`.

    `tokens` is the address of their number; `x` are Q16 records, `y` is float32, `y_stride` floats from token to token;
    `bias` is the address of (rows,) float32 that are added, 0 for none; `rows` is a multiple of BAND and `k` of 32. A
    token's product has the same bits in every batch.
    """
    v = set_for_int16(v)
    panels = in_panels(v, v.TOKENS, _by_sums(v)) if v.SUMS else in_panels(v, v.FLOAT_TOKENS, _by_pairs(v))
    q16_stride, bytes_of = v.jitable(q16_bytes), v.jitable(int16_bytes)

    def run(counter, ith, nth, tokens, weights, x, y, rows, k, y_stride, bias):
        count, band, x_stride = v.load_i64(tokens), v.take_work(counter, 1), q16_stride(k)
        while band < rows // BAND:
            first, tiles = 4 * BAND * band, weights + bytes_of(BAND, k) * band
            for at in range(0, k, GROUP):
                n, start = min(GROUP, k - at), MORE if at > 0 else bias + first if bias != 0 else 0
                following = tiles + bytes_of(BAND, n) if at + n < k else weights + bytes_of(BAND, k) * (band + nth)
                group = x + at // GROUP * LINE
                panels(count, n, tiles, group, x_stride, start, y + first, 4 * y_stride, following)
                tiles += bytes_of(BAND, n)
            band = v.take_work(counter, 1)

    return run


def _by_sums(v: InstructionSet) -> Callable[[int], Any]:
    """As `_by_pairs`, by products of sums: a tile after the other."""
    i32, width, stride_of, fetch = v.i32, 4 * v.LANES, v.jitable(int16_bytes), _fetch(v)

    def panel_of(count: int) -> Any:
        half = max(1, count // 2)
        fetch_half = v.unroll_map(half, lambda t, x, stride: v.prefetch(x + t * stride))
        starts = v.unroll_map(count, lambda t, row, x, stride: row + v.load_splat(i32, x + t * stride))
        _, nothing, loads, stores = int16_sums(v, count, 1)
        steps, scaled = v.sums_dot(count, STEPS), int16_scaled(v, count, 1)
        wrapped = v.unroll_map(count, lambda t, totals: (v.tuple_get(totals, t),))

        @v.jitable
        def one(n, tile, x, x_stride, bias, y, y_stride, next_x):
            scales, acts, found = tile + n // 2 * width, x + 2 * n, nothing()
            totals, at = starts(v.load(i32, scales + width), acts + 4, x_stride), x
            for _ in range(n // (4 * STEPS)):
                fetch_half(next_x, x_stride)
                totals = steps(totals, tile, at, x_stride)
                tile += 2 * width * STEPS
                at += 8 * STEPS
                next_x += 8 * STEPS
            if bias < 0:
                found = loads(y, y_stride)
            elif bias > 0:
                found = loads(bias, 0)
            stores(y, scaled(found, wrapped(totals), acts, x_stride, scales, 0), y_stride)

        def over_tiles(t, n, tiles, x, x_stride, bias, y, y_stride, following):
            x, y, step, stride = x + t * x_stride, y + t * y_stride, width if bias > 0 else 0, stride_of(v.LANES, n)
            fetch(following, t // count)
            for i in range(BAND // v.LANES):
                next_x = x + x_stride * (count + i * half)  # the activations of the next few tokens, in halves
                one(n, tiles + stride * i, x, x_stride, bias + step * i, y + width * i, y_stride, next_x)

        return over_tiles

    return panel_of


def _by_pairs(v: InstructionSet) -> Callable[[int], Any]:
    """`(t, n, tiles, x, x_stride, bias, y, y_stride, following)`: a group of `n` weights of BAND rows by some tokens.

    `bias` 0 is none, MORE what y holds. `following` are the weights that are multiplied next.
    """
    lanes, most, stride_of, fetch = v.LANES, v.FLOAT_TILES, v.jitable(int16_bytes), _fetch(v)

    def panel_of(count: int) -> Any:
        several = _panel(v, count, most)

        def over_tiles(t, n, tiles, x, x_stride, bias, y, y_stride, following):
            x, y, width, stride = x + t * x_stride, y + t * y_stride, 4 * lanes if bias > 0 else 0, stride_of(lanes, n)
            fetch(following, t // count)
            for i in range(0, BAND // lanes, most):
                several(n, tiles + stride * i, stride, x, x_stride, bias + width * i, y + 4 * lanes * i, y_stride)

        return over_tiles

    return panel_of


def _fetch(v: InstructionSet) -> Any:
    """`(weights, part)`: ask for the cache lines of one part of the weights that are multiplied next."""

    def run(weights, part):
        for line in range(AHEAD * part, AHEAD * part + AHEAD):
            v.prefetch(weights + 64 * line)

    return v.jitable(run)


class Int16Sums(NamedTuple):
    """Vectors for each of a few tokens and tiles, `y` (tokens, tiles * LANES) in memory.

    `zeros()` of int32, `nothing()` of float32; `loads(y, stride)` and `stores(y, sums, stride)` of float32.
    """

    zeros: Part
    nothing: Part
    loads: Part
    stores: Part


def int16_sums(v: InstructionSet, tokens: int, tiles: int) -> Int16Sums:
    f32, i32, width = v.f32, v.i32, 4 * v.LANES
    zero, none = v.unroll_map(tiles, lambda j: v.zero(i32)), v.unroll_map(tiles, lambda j: v.zero(f32))
    load = v.unroll_map(tiles, lambda j, y: v.load(f32, y + width * j))
    store = v.unroll_map(tiles, lambda j, y, sums: v.store(y + width * j, v.tuple_get(sums, j)))
    return Int16Sums(
        v.unroll_map(tokens, lambda t: zero()),
        v.unroll_map(tokens, lambda t: none()),
        v.unroll_map(tokens, lambda t, y, stride: load(y + t * stride)),
        v.unroll_map(tokens, lambda t, y, sums, stride: store(y + t * stride, v.tuple_get(sums, t))),
    )


def _panel(v: InstructionSet, tokens: int, tiles: int) -> Any:
    """Some tiles by a few tokens, whose sums stay in registers: y (tokens, tiles * LANES) = bias + tiles @ x.

    A pair of activations that is loaded is used for all tiles.
    """
    zeros, nothing, loads, stores = int16_sums(v, tokens, tiles)
    dot, scaled = _fours_dot(v, tokens, tiles), int16_scaled(v, tokens, tiles)
    width = 4 * v.LANES

    def run(n, tile, stride, x, x_stride, bias, y, y_stride):
        totals, sums = dot(zeros(), n // 4, tile, stride, x, x_stride), nothing()
        if bias < 0:
            sums = loads(y, y_stride)
        elif bias > 0:
            sums = loads(bias, 0)
        stores(y, scaled(sums, totals, x + 2 * n, x_stride, tile + n // 2 * width, stride), y_stride)

    return v.jitable(run)


def int16_scaled(v: InstructionSet, tokens: int, tiles: int) -> Part:
    """`(sums, totals, x, x_stride, d, stride)` -> sums (float32) + totals (int32) times scales.

    Those of the tokens are `x_stride` bytes apart from `x` on, those of the tiles, vectors, `stride` from `d` on.
    """
    f32 = v.f32
    scale = v.unroll_map(
        tiles,
        lambda j, sums, totals, x, d, stride: v.fma(
            x * v.load(f32, d + stride * j), v.to_f32(f32, v.tuple_get(totals, j)), v.tuple_get(sums, j)
        ),
    )
    return v.unroll_map(
        tokens,
        lambda t, sums, totals, x, x_stride, d, stride: scale(
            v.tuple_get(sums, t), v.tuple_get(totals, t), v.load_splat(f32, x + t * x_stride), d, stride
        ),
    )


def _fours_dot(v: InstructionSet, tokens: int, tiles: int) -> Any:
    """`(totals, fours, weights, stride, x, x_stride)`: as `int16_dot`, of which pairs of activations are exchanged."""
    rows, every, width = *_pair_of_int16(v, tokens, tiles), 4 * v.LANES

    def run(totals, fours, w, stride, x, x_stride):
        for i in range(fours):
            totals = every(totals, rows(w + 2 * width * i, stride), x + 8 * i + 4, x_stride)
            totals = every(totals, rows(w + 2 * width * i + width, stride), x + 8 * i, x_stride)
        return totals

    return v.jitable(run)


def int16_dot(v: InstructionSet, tokens: int, tiles: int) -> Any:
    """`(totals, pairs, weights, stride, x, x_stride)` -> totals (int32) + pairs of weights times pairs of int16."""
    rows, every, width = *_pair_of_int16(v, tokens, tiles), 4 * v.LANES

    def run(totals, pairs, w, stride, x, x_stride):
        for i in range(pairs):
            totals = every(totals, rows(w + width * i, stride), x + 4 * i, x_stride)
        return totals

    return v.jitable(run)


def _pair_of_int16(v: InstructionSet, tokens: int, tiles: int) -> tuple[Part, Part]:
    """`(weights, stride)` -> a pair of each row of the tiles; `(totals, them, x, stride)` -> totals + products."""
    i32, i16 = v.i32, v.Vec("i16", 2 * v.LANES)
    rows = v.unroll_map(tiles, lambda j, w, stride: v.load(i16, w + stride * j))
    times = v.unroll_map(tiles, lambda j, totals, w, x: v.dot2(v.tuple_get(totals, j), v.tuple_get(w, j), x))
    every = v.unroll_map(
        tokens,
        lambda t, totals, w, x, stride: times(
            v.tuple_get(totals, t), w, v.bitcast(i16, v.load_splat(i32, x + t * stride))
        ),
    )
    return rows, every
