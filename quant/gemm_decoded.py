"""Products of formats that are only decoded: a block becomes float32, then it is as with floats. Knows no format."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from .format import Format
from .gemm_float import batches
from .parts import DecodedParts


def row_dot(v: ModuleType, fmt: type[Format], parts: DecodedParts) -> Any:
    """`(weights, x, k, scratch)` -> float32: a row of blocks times a token, in four chains of sums."""
    f32, nbytes, size, decode = v.row_f32, fmt.nbytes, 4 * fmt.block, v.jitable(parts.decode)
    step = 4 * f32.n

    def chain(j: int) -> Any:
        return lambda sums, w, x: v.fma(v.load(f32, w + step * j), v.load(f32, x + step * j), sums[j])

    four = v.unroll(4, chain)

    def dot_row(weights, x, k, scratch):  # type: ignore[no-untyped-def]
        sums = (v.zero(f32), v.zero(f32), v.zero(f32), v.zero(f32))
        for _ in range(4 * k // size):
            v.prefetch(weights + 1024)
            decode(weights, scratch)
            for i in range(0, size, 4 * step):
                sums = four(sums, scratch + i, x + i)
            weights += nbytes
            x += size
        return v.total((sums[0] + sums[1]) + (sums[2] + sums[3]))

    return v.jitable(dot_row)


def tiles_dot(v: ModuleType, fmt: type[Format], parts: DecodedParts) -> Any:
    """As gemm_float.tiles_dot; blocks of LANES rows are decoded beside each other, then transposed."""
    block, nbytes, lanes, decode = fmt.block, fmt.nbytes, v.LANES, v.jitable(parts.decode)

    def fill(weights, row_bytes, depth, tile, spare):  # type: ignore[no-untyped-def]
        for at in range(0, depth, block):
            for r in range(lanes):
                decode(weights + row_bytes * r + at // block * nbytes, spare + 4 * block * r)
            for i in range(0, block, 4):
                columns, out = v.load_rows(v.i32, spare + 4 * i, 4 * block), tile + 4 * lanes * (at + i)
                for j in range(4):
                    v.store(out + 4 * lanes * j, columns[j])

    return batches(v, fmt, fill)
