"""Products of weights that become float32 with float32 activations: a row by a token, a tile of rows by many tokens."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from .format import Format
from .parts import FloatParts, Part

DEPTH = 256  # weights of a row that are unpacked at once


def row_dot(v: ModuleType, fmt: type[Format], parts: FloatParts) -> Any:
    """`(weights, x, k, scratch)` -> float32: a row times a token, in four chains of sums; k of any size."""
    f32x8, row, nbytes = v.f32x8, v.jitable(parts.row), fmt.nbytes
    four = v.unroll(4, lambda j: lambda sums, p, x: v.fma(row(p + 8 * nbytes * j), v.load(f32x8, x + 32 * j), sums[j]))
    one = v.jitable(parts.one)

    def dot_row(weights, x, k, scratch):  # type: ignore[no-untyped-def]
        sums = (v.zero(f32x8), v.zero(f32x8), v.zero(f32x8), v.zero(f32x8))
        i = 0
        while i + 32 <= k:
            v.prefetch(weights + i * nbytes + 2048)
            sums = four(sums, weights + i * nbytes, x + 4 * i)
            i += 32
        rest = v.float32(0)
        while i < k:
            rest += one(weights + i * nbytes) * v.load_f32(x + 4 * i)
            i += 1
        return v.total((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest

    return v.jitable(dot_row)


def tiles_dot(v: ModuleType, fmt: type[Format], parts: FloatParts) -> Any:
    """As gemm_integer.tiles_dot, with one float vector for each weight of LANES rows."""
    nbytes, step, lanes = fmt.nbytes, parts.step, v.LANES
    unpack, one = v.jitable(parts.unpack), v.jitable(parts.one)

    def fill(weights, row_bytes, depth, tile, spare):  # type: ignore[no-untyped-def]
        for i in range(0, depth - step + 1, step):
            unpack(weights + i * nbytes, row_bytes, tile + 4 * lanes * i)
        for i in range(depth // step * step, depth):
            for r in range(lanes):
                v.store(tile + 4 * (lanes * i + r), one(weights + r * row_bytes + i * nbytes))

    return batches(v, fmt, fill)


def batches(v: ModuleType, fmt: type[Format], fill: Part) -> Any:
    """`tiles_dot` by `fill(weights, row_bytes, depth, tile, spare)`, which writes a tile; `spare` is room to do it."""
    fill, block, nbytes, lanes, many = v.jitable(fill), fmt.block, fmt.nbytes, v.LANES, v.TOKENS
    panel_many, panel_one = panel(v, many), panel(v, 1)

    def dot_tiles(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch):  # type: ignore[no-untyped-def]
        for at in range(0, k, DEPTH):
            depth = min(DEPTH, k - at)
            tile_bytes = 4 * lanes * depth
            for n in range(tiles):
                rows = weights + lanes * row_bytes * n + at // block * nbytes
                fill(rows, row_bytes, depth, scratch + tile_bytes * n, scratch + tile_bytes * tiles)
            t, xs = 0, x + 4 * at
            while t + many <= tokens:
                for n in range(tiles):
                    out = y + t * y_stride + 4 * lanes * n
                    panel_many(scratch + tile_bytes * n, depth, xs + t * x_stride, x_stride, out, y_stride, at)
                t += many
            while t < tokens:
                for n in range(tiles):
                    out = y + t * y_stride + 4 * lanes * n
                    panel_one(scratch + tile_bytes * n, depth, xs + t * x_stride, x_stride, out, y_stride, at)
                t += 1

    return v.jitable(dot_tiles)


def panel(v: ModuleType, tokens: int) -> Any:
    """The tile by a few tokens whose sums stay in registers: y (tokens, LANES) = or += tile @ x."""
    f32 = v.f32
    every = v.unroll(tokens, lambda t: lambda sums, w, x, stride: v.fma(w, v.load_splat(f32, x + t * stride), sums[t]))
    zeros = v.unroll(tokens, lambda t: lambda y, stride: v.zero(f32))
    loads = v.unroll(tokens, lambda t: lambda y, stride: v.load(f32, y + t * stride))
    stores = v.unroll(tokens, lambda t: lambda sums, y, stride: v.store(y + t * stride, sums[t]))

    def run(tile, depth, x, x_stride, y, y_stride, at):  # type: ignore[no-untyped-def]
        sums = loads(y, y_stride) if at > 0 else zeros(y, y_stride)
        for i in range(depth):
            sums = every(sums, v.load(f32, tile + 4 * v.LANES * i), x + 4 * i, x_stride)
        stores(sums, y, y_stride)

    return v.jitable(run)
