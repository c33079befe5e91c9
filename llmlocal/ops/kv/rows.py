"""Scores of vectors that are stored row by row, as values are: latents, which are keys and values at once.

Every score adds its products in order of the row's numbers, so it does not depend on the other queries or keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...quant.simd.instruction_set import InstructionSet
from .kv_type import ALIGN
from .panel import by_rows

KEYS = 2  # rows that share each number of a query


def float_query(v: InstructionSet) -> Any:
    """`load_query` (see `KVKernels`) for queries that stay float32."""
    f32x8 = v.f32x8

    def run(q, t, head, heads, dim, width, scale, target):
        source = q + 4 * dim * (heads * t + head)
        for i in range(0, dim - 7, 8):
            v.store(target + 4 * i, v.load(f32x8, source + 4 * i) * scale)
        for i in range(dim // 8 * 8, width):
            v.store(target + 4 * i, v.load_f32(source + 4 * i) * scale if i < dim else v.float32(0))

    return run


def multiply_rows(v: InstructionSet, load: Callable[..., Any], nbytes: int, *, scaled: bool) -> Any:
    """`(rows, cell, cells, width, queries, scores)`: scores = float32 queries times the rows from `cell` on.

    A row is `width` numbers of `nbytes` bytes; `load` turns LANES of them into a float vector. If `scaled`, the scales
    of the blocks of ALIGN numbers follow all rows, as in a cache in bytes.
    """
    multiply = by_rows(v, lambda n: _all_keys(v, _panel(v, v.jitable(load), nbytes, n, scaled)))

    def run(rows, cell, cells, width, queries, scores):
        step = nbytes * width
        for key in range(0, scores.keys, ALIGN):
            at, scales = rows + step * (cell + key), rows + step * cells + 4 * (cell + key)
            y = scores.address + 4 * key
            multiply(queries, 4 * width, scores.rows, y, scores.stride, at, step, scales, 4 * cells, width)

    return run


def _all_keys(v: InstructionSet, panel: Any) -> Any:
    """As `panel`, for ALIGN rows of the cache: a few queries stay in the first cache meanwhile, all of them do not."""

    def run(x, x_stride, y, y_stride, b, step, scales, scales_step, width):
        for key in range(0, ALIGN, KEYS):
            panel(x, x_stride, y + 4 * key, y_stride, b + step * key, step, scales + 4 * key, scales_step, width)

    return v.jitable(run)


def _panel(v: InstructionSet, load: Any, nbytes: int, rows: int, scaled: bool) -> Any:
    """`rows` queries by KEYS rows of the cache."""
    f32, lanes, pairs = v.f32, v.LANES, rows * KEYS
    keys = v.map_parts(KEYS, lambda k: lambda b, step: load(b + k * step))
    scales_of = v.map_parts(KEYS, lambda k: lambda p: v.load_splat(f32, p + 4 * k))

    def times(i: int) -> Any:
        r, k = divmod(i, KEYS)
        return lambda sums, w, x, stride: v.fma(w[k], v.load(f32, x + r * stride), sums[i])

    def scale(i: int) -> Any:
        return lambda sums, parts, d: v.fma(parts[i], d[i % KEYS], sums[i])

    def write(i: int) -> Any:
        r, k = divmod(i, KEYS)
        return lambda sums, y, stride: v.store(y + r * stride + 4 * k, v.reduce_add(sums[i]))

    every, rescaled = v.map_parts(pairs, times), v.map_parts(pairs, scale)
    zeros, stores = v.map_parts(pairs, lambda i: lambda: v.zero(f32)), v.map_parts(pairs, write)

    @v.jitable
    def block(sums, b, step, x, x_stride):
        for i in range(0, ALIGN, lanes):
            sums = every(sums, keys(b + nbytes * i, step), x + 4 * i, x_stride)
        return sums

    def plain(x, x_stride, y, y_stride, b, step, scales, scales_step, width):
        sums = zeros()
        for i in range(0, width, ALIGN):
            sums = block(sums, b + nbytes * i, step, x + 4 * i, x_stride)
        stores(sums, y, y_stride)

    def with_scales(x, x_stride, y, y_stride, b, step, scales, scales_step, width):
        sums = zeros()
        for i in range(0, width, ALIGN):
            parts = block(zeros(), b + nbytes * i, step, x + 4 * i, x_stride)
            sums = rescaled(sums, parts, scales_of(scales))
            scales += scales_step
        stores(sums, y, y_stride)

    return v.jitable(with_scales if scaled else plain)
