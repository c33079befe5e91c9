"""Products of formats that are only decoded: a block becomes float32, then it is multiplied as float weights are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..blocks.parts import DecodedParts
from ..format import Format
from ..simd.instruction_set import InstructionSet
from .gemm_float import batches, row_chains


def row_dots(v: InstructionSet, fmt: type[Format], parts: DecodedParts) -> Callable[[int], Any]:
    """As gemm_float.row_dots: a block of the row is decoded, then multiplied."""
    f32, nbytes, size, decode = v.row_f32, fmt.nbytes, 4 * fmt.block, v.jitable(parts.decode)
    width = 4 * f32.n
    four = v.unroll_map(4, lambda j, p: v.load(f32, p + width * j))

    def of(tokens: int) -> Any:
        (start, add_row, finish), nothing = row_chains(v, f32, tokens), v.unroll_map(tokens, lambda t: v.float32(0))

        def dot_row(weights, x, x_stride, k, y, y_stride, scratch):
            sums = start()
            for _ in range(4 * k // size):
                v.prefetch(weights + 1024)
                decode(weights, scratch)
                for i in range(0, size, 4 * width):
                    sums = add_row(sums, four(scratch + i), x + i, x_stride)
                weights += nbytes
                x += size
            finish(sums, nothing(), y, y_stride)

        return v.jitable(dot_row)

    return of


def tiles_dot(v: InstructionSet, fmt: type[Format], parts: DecodedParts) -> Any:
    """As gemm_float.tiles_dot; blocks of LANES rows are decoded beside each other, then transposed."""
    block, nbytes, lanes, decode = fmt.block, fmt.nbytes, v.LANES, v.jitable(parts.decode)

    def fill(weights, row_bytes, depth, tile, spare):
        for at in range(0, depth, block):
            for r in range(lanes):
                decode(weights + row_bytes * r + at // block * nbytes, spare + 4 * block * r)
            for i in range(0, block, 4):
                columns, out = v.load_rows(v.i32, spare + 4 * i, 4 * block), tile + 4 * lanes * (at + i)
                for j in range(4):
                    v.store(out + 4 * lanes * j, columns[j])

    return batches(v, fmt, fill)
