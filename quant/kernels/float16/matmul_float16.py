"""Matrix products of weights of 16-bit floats: row by row for a few tokens, by 16-bit integers for a batch."""

from __future__ import annotations

from typing import Any

from ...blocks.parts import float_activations, require_kernels
from ...format import Format
from ...jit.kernel import Kernel
from ...simd.instruction_set import InstructionSet
from ..gemm_float import row_dots
from ..interleave import MOST_LANES
from ..matmul import FIELDS as PRODUCT_FIELDS
from ..matmul import float_bytes, over_rows, row_panels
from ..matmul_int16 import X86
from ..panels import set_for_tiles
from .float16_tiles import tiles_dot
from .n16_activations import BLOCK, n16_bytes

FIELDS = (*PRODUCT_FIELDS, "records")


def has_float16_batches(fmt: type[Format], rows: int, k: int, isa: str) -> bool:
    """Whether `matmul_float16` multiplies a matrix (rows, k) faster than `matmul` on an instruction set.

    ARM adds products of floats as fast as those of 16-bit integers. Imports no Numba.
    """
    halves = float_activations(fmt) and fmt.nbytes == 2 * fmt.block
    return halves and isa in X86 and rows % MOST_LANES == 0 and k % BLOCK == 0


def matmul_float16(fmt: type[Format]) -> Kernel:
    """As `matmul` for weights of 16-bit floats, with the same bits up to as many tokens as `few_tokens` says.

    Of more tokens it reads the N16 records of `x` at `records` in place of `x`: a product is exact but for the rounding
    of both to 16-bit integers. `rows` is a multiple of MOST_LANES, `k` of BLOCK. A weight whose square is beyond
    float32 makes products NaN there. Raises ValueError for a format without kernels.
    """
    require_kernels(fmt)
    return Kernel(f"matmul_float16_{fmt.name}", FIELDS, lambda v: _build(v, fmt), stretches=True)


def _build(v: InstructionSet, fmt: type[Format]) -> Any:
    every = v.jitable(over_rows(v, fmt, len(FIELDS), _rows_by_tokens(v, fmt)))

    def run(counter, ith, nth, tokens, weights, x, y, rows, k, row_bytes, y_stride, scratch, records):
        every(counter, ith, nth, tokens, weights, (x, records), y, rows, k, row_bytes, y_stride, scratch)

    return run


def _rows_by_tokens(v: InstructionSet, fmt: type[Format]) -> Any:
    """As `matmul.rows_by_tokens`, where `x` is the pair of the activations' address and that of their records."""
    if v.FLOAT_TILES == 1:  # else these are several tiles of the set itself
        v = set_for_tiles(v)
    parts, lanes = fmt.kernels(v), v.LANES
    tiles, row = tiles_dot(v, fmt, parts), row_panels(v, row_dots(v, fmt, parts))
    record_bytes, x_bytes = v.jitable(n16_bytes), v.jitable(float_bytes)

    def run(weights, row_bytes, first, last, x, k, tokens, tiled, y, y_stride, scratch):
        if tiled:
            at, out, stride = weights + row_bytes * first, y + 4 * first, record_bytes(k)
            tiles(at, row_bytes, k, x[1], stride, tokens, out, 4 * y_stride, (last - first) // lanes, scratch)
        else:
            for r in range(first, last):
                row(tokens, weights + row_bytes * r, x[0], x_bytes(k), k, y + 4 * r, 4 * y_stride, scratch)

    return v.jitable(run)
