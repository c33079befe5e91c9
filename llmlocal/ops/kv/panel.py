"""Small matrix products of float32 rows and packed numbers, with sums in registers, as attention needs them.

Every sum adds its products in order of depth, so a row's result does not depend on the other rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...quant.simd.instruction_set import InstructionSet

COLUMNS = 32
SIXES = 4  # of the instruction sets that multiply so many tokens at once, registers hold the sums of six rows
WIDE_ROWS = 3  # so few rows are multiplied with all columns at once: with fewer sums each waits for the one before it
AHEAD = 4096  # bytes from what is multiplied to what is fetched: 32 keys or values of 64 float16


def product(v: InstructionSet, load: Callable[..., Any], nbytes: int) -> Any:
    """`(x, x_stride, rows, y, y_stride, b, step, depth, goes_on)`: y (rows, 32) = x (rows, depth) times 32 columns.

    At `b`, 32 numbers of `nbytes` bytes lie side by side for each step of depth, `step` bytes apart; `load` turns
    LANES of them into a float vector. If `goes_on`, the products are added to y, one after the other.
    """
    return by_rows(v, lambda rows: _panel(v, load, nbytes, rows))


def by_rows(v: InstructionSet, panel_of: Callable[[int], Any]) -> Any:
    """`(x, x_stride, rows, y, y_stride, *rest)`: all rows, in panels of a few.

    `panel_of(n)` is `(x, x_stride, y, y_stride, *rest)` for n rows.
    """

    def some(n: int) -> Any:
        panel = panel_of(n)

        def run(row, x, x_stride, rows, y, y_stride, *rest):
            while row + n <= rows:
                panel(x + row * x_stride, x_stride, y + row * y_stride, y_stride, *rest)
                row += n
            return row

        return v.jitable(run)

    sizes = [n for n in (8, 6, 4, 3, 2, 1) if (v.TOKENS == SIXES if n == 6 else n <= v.TOKENS)]
    every = v.fold_parts([some(n) for n in sizes])

    def run(x, x_stride, rows, y, y_stride, *rest):
        every(0, x, x_stride, rows, y, y_stride, *rest)

    return v.jitable(run)


def _panel(v: InstructionSet, load: Callable[..., Any], nbytes: int, rows: int) -> Any:
    """`rows` rows by 32 columns, as many columns at a time as leave registers for the sums."""
    f32, lanes = v.f32, v.LANES
    vectors = COLUMNS // lanes if rows <= WIDE_ROWS else 2
    pairs = [(r, j) for r in range(rows) for j in range(vectors)]
    if rows < vectors:  # hold the numbers of all rows, not all columns: registers are short
        pairs.sort(key=lambda pair: pair[1])
    load = v.jitable(load)
    columns = v.map_parts(vectors, lambda j: lambda b: load(b + lanes * nbytes * j))

    def times(i: int) -> Any:
        r, j = pairs[i]
        return lambda sums, w, x, stride: v.fma(w[j], v.load_splat(f32, x + r * stride), sums[i])

    def write(i: int) -> Any:
        r, j = pairs[i]
        return lambda sums, y, stride: v.store(y + r * stride + 4 * lanes * j, sums[i])

    every, stores = v.map_parts(rows * vectors, times), v.map_parts(rows * vectors, write)
    zeros = v.map_parts(rows * vectors, lambda i: lambda: v.zero(f32))

    def read(i: int) -> Any:
        r, j = pairs[i]
        return lambda y, stride: v.load(f32, y + r * stride + 4 * lanes * j)

    loads = v.map_parts(rows * vectors, read)

    def run(x, x_stride, y, y_stride, b, step, depth, goes_on):
        for c in range(0, COLUMNS, vectors * lanes):
            sums, at = zeros(), b + c * nbytes
            if goes_on:
                sums = loads(y + 4 * c, y_stride)
            for i in range(depth):
                sums = every(sums, columns(at), x + 4 * i, x_stride)
                v.prefetch(at + AHEAD)  # every sequence has memory of its own, where no stream has begun
                at += step
            stores(sums, y + 4 * c, y_stride)

    return v.jitable(run)
