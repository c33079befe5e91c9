"""Products of weights that become float32 with float32 activations: a row by a token, a tile of rows by many tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..blocks.parts import FloatParts, Part
from ..format import Format
from ..simd.instruction_set import InstructionSet
from .panels import BAND, fetch_rows, in_panels

DEPTH = 256  # weights of a row that are unpacked at once
STEP = 32  # weights of a row that a token's chains of sums take at once
AHEAD, AHEAD_OF_ONE = 2048, 1024  # bytes of a row from what several tokens, or one, multiply to what is asked for


def row_dots(v: InstructionSet, fmt: type[Format], parts: FloatParts) -> Callable[[int], Any]:
    """For a number of tokens, `(weights, x, x_stride, k, y, y_stride, scratch)`: a row in chains of sums for each."""
    nbytes, eight, one, width = fmt.nbytes, v.jitable(parts.row), v.jitable(parts.one), v.row_f32.n
    row = eight if width == 8 else v.jitable(lambda p: v.join(eight(p), eight(p + 8 * nbytes)))
    rows = v.unroll_map(STEP // width, lambda j, p: row(p + width * nbytes * j))

    def of(tokens: int) -> Any:
        start, add_row, finish = _row_chains(v, tokens)
        ahead = AHEAD_OF_ONE if tokens == 1 else AHEAD
        nothing = v.unroll_map(tokens, lambda t: v.float32(0))
        more = v.unroll_map(tokens, lambda t, rest, w, x, stride: v.tuple_get(rest, t) + w * v.load_f32(x + t * stride))

        def dot_row(weights, x, x_stride, k, y, y_stride, scratch):
            sums, rest, i = start(), nothing(), 0
            while i + STEP <= k:
                v.prefetch(weights + i * nbytes + ahead)
                sums = add_row(sums, rows(weights + i * nbytes), x + 4 * i, x_stride)
                i += STEP
            while i < k:
                rest = more(rest, one(weights + i * nbytes), x + 4 * i, x_stride)
                i += 1
            finish(sums, rest, y, y_stride)

        return v.jitable(dot_row)

    return of


class _RowChains(NamedTuple):
    """Four chains of sums for each of a few tokens, or two where the vectors of a row are twice as wide.

    `start()`: the sums; `step(sums, weights, x, stride)` with STEP weights; `finish(sums, rest, y, stride)`.
    """

    start: Part
    step: Part
    finish: Part


def _row_chains(v: InstructionSet, tokens: int) -> _RowChains:
    f32 = v.row_f32
    chains, nbytes = STEP // f32.n, 4 * f32.n
    zeros = v.unroll_map(chains, lambda j: v.zero(f32))
    every = v.unroll_map(
        chains, lambda j, sums, w, x: v.fma(v.tuple_get(w, j), v.load(f32, x + nbytes * j), v.tuple_get(sums, j))
    )

    def of_four(sums):
        a, b, c, d = sums
        return (a + b) + (c + d)

    def of_two(sums):
        a, b = sums
        return a + b

    total = v.jitable(of_four if chains == 4 else of_two)

    def finish(t, sums, rest, y, stride):
        v.store(y + t * stride, v.reduce_add(total(v.tuple_get(sums, t))) + v.tuple_get(rest, t))

    return _RowChains(
        v.unroll_map(tokens, lambda t: zeros()),
        v.unroll_map(tokens, lambda t, sums, w, x, stride: every(v.tuple_get(sums, t), w, x + t * stride)),
        v.unroll_map(tokens, finish),
    )


def tiles_dot(v: InstructionSet, fmt: type[Format], parts: FloatParts) -> Any:
    """As gemm_integer.tiles_dot, with one float vector for each weight of LANES rows."""
    nbytes, step, lanes = fmt.nbytes, parts.step, v.LANES
    unpack, one = v.jitable(parts.unpack), v.jitable(parts.one)

    def fill(weights, row_bytes, depth, tile, spare):
        for i in range(0, depth - step + 1, step):
            unpack(weights + i * nbytes, row_bytes, tile + 4 * lanes * i)
        for i in range(depth // step * step, depth):
            for r in range(lanes):
                v.store(tile + 4 * (lanes * i + r), one(weights + r * row_bytes + i * nbytes))

    return batches(v, fmt, fill)


def batches(v: InstructionSet, fmt: type[Format], fill: Part) -> Any:
    """`tiles_dot` by `fill(weights, row_bytes, depth, tile, spare)`, which writes a tile; `spare` is room to do it."""
    fill, block, nbytes, lanes, fetch = v.jitable(fill), fmt.block, fmt.nbytes, v.LANES, fetch_rows(v)
    band, most = BAND // lanes, v.FLOAT_TILES

    def panel_of(count: int) -> Any:
        one = panel(v, count, 1)
        several = panel(v, count, most) if most > 1 else one

        def over_tiles(t, x, x_stride, depth, y, y_stride, at, tiles, scratch):
            size, n = 4 * lanes * depth, 0
            x, y = x + t * x_stride, y + t * y_stride
            while n + most <= tiles:
                several(scratch + size * n, depth, x, x_stride, y + 4 * lanes * n, y_stride, at)
                n += most
            while n < tiles:
                one(scratch + size * n, depth, x, x_stride, y + 4 * lanes * n, y_stride, at)
                n += 1

        return over_tiles

    panels = in_panels(v, v.FLOAT_TOKENS, panel_of)

    def dot_tiles(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch):
        for at in range(0, k, DEPTH):
            depth = min(DEPTH, k - at)
            tile_bytes = 4 * lanes * depth
            for n in range(tiles):
                rows = weights + lanes * row_bytes * n + at // block * nbytes
                ahead = rows + lanes * row_bytes if n + 1 < tiles else weights + (at + depth) // block * nbytes
                fetch(ahead, row_bytes, 0, depth // block * nbytes + 63)
                fill(rows, row_bytes, depth, scratch + tile_bytes * n, scratch + tile_bytes * tiles)
            for n in range(0, tiles, band):
                out, some = y + 4 * lanes * n, min(band, tiles - n)
                panels(tokens, x + 4 * at, x_stride, depth, out, y_stride, at, some, scratch + tile_bytes * n)

    return v.jitable(dot_tiles)


def panel(v: InstructionSet, tokens: int, tiles: int) -> Any:
    """Some tiles by a few tokens, whose sums stay in registers: y (tokens, tiles * LANES) = or += tiles @ x.

    An activation that is loaded is used for all tiles.
    """
    f32, width = v.f32, 4 * v.LANES
    rows = v.unroll_map(tiles, lambda j, tile, size: v.load(f32, tile + size * j))
    times = v.unroll_map(tiles, lambda j, sums, w, x: v.fma(v.tuple_get(w, j), x, v.tuple_get(sums, j)))
    every = v.unroll_map(
        tokens, lambda t, sums, w, x, stride: times(v.tuple_get(sums, t), w, v.load_splat(f32, x + t * stride))
    )
    zero = v.unroll_map(tiles, lambda j: v.zero(f32))
    load = v.unroll_map(tiles, lambda j, y: v.load(f32, y + width * j))
    store = v.unroll_map(tiles, lambda j, y, sums: v.store(y + width * j, v.tuple_get(sums, j)))
    zeros = v.unroll_map(tokens, lambda t: zero())
    loads = v.unroll_map(tokens, lambda t, y, stride: load(y + t * stride))
    stores = v.unroll_map(tokens, lambda t, sums, y, stride: store(y + t * stride, v.tuple_get(sums, t)))

    def run(tile, depth, x, x_stride, y, y_stride, at):
        sums, size = loads(y, y_stride) if at > 0 else zeros(), width * depth
        for i in range(depth):
            sums = every(sums, rows(tile + width * i, size), x + 4 * i, x_stride)
        stores(sums, y, y_stride)

    return v.jitable(run)
