"""Matrix products of weights of 8 bits with activations of 16, in tiles of rows for every number of tokens."""

from __future__ import annotations

from typing import Any

from ..blocks.parts import IntegerParts, float_activations, require_kernels
from ..format import Format
from ..jit.kernel import Kernel
from ..simd.instruction_set import InstructionSet
from .gemm_int16 import tiles_dot
from .interleave import MOST_LANES
from .matmul import FIELDS as PRODUCT_FIELDS
from .matmul import ROWS, SCRATCH_BYTES
from .panels import set_for_tiles
from .q16_activations import q16_bytes

FIELDS = (*PRODUCT_FIELDS, "bias")
X86 = frozenset({"avx2", "avxvnni", "avx512"})  # where int16 are multiplied at half the rate of bytes, or faster


def use_int16(fmt: type[Format], rows: int, isa: str) -> bool:
    """Whether `matmul_int16` is worth its time on an instruction set, and takes a matrix of `rows` rows.

    Weights of fewer than 8 bits lose more than activations of 8 bits do, and are faster as bytes; on ARM bytes are four
    times as fast. Imports no Numba.
    """
    return isa in X86 and not float_activations(fmt) and fmt.nbytes >= fmt.block and rows % MOST_LANES == 0


def matmul_int16(fmt: type[Format]) -> Kernel:
    """As `matmul` for signed weights of 8 bits, with `x` in the Q16 records of `q16_activations`.

    `bias` is the address of (rows,) float32 that are added, 0 for none; `rows` is a multiple of MOST_LANES. A token's
    product has the same bits in every batch. Raises ValueError for a format without kernels.
    """
    require_kernels(fmt)
    return Kernel(f"matmul_int16_{fmt.name}", FIELDS, lambda v: _build(v, fmt))


def _build(v: InstructionSet, fmt: type[Format]) -> Any:
    if v.FLOAT_TILES == 1:  # else these are several tiles of the set itself
        v = set_for_tiles(v)
    parts = fmt.kernels(v)
    assert isinstance(parts, IntegerParts)
    dot, q16_stride, lanes = tiles_dot(v, fmt, parts), v.jitable(q16_bytes), v.LANES

    def run(counter, ith, nth, tokens, weights, x, y, rows, k, row_bytes, y_stride, scratch, bias):
        count, tile = v.load_i64(tokens), scratch + SCRATCH_BYTES * ith
        first = v.take_work(counter, ROWS)
        while first < rows:
            tiles, at = (min(rows, first + ROWS) - first) // lanes, weights + row_bytes * first
            start = bias + 4 * first if bias != 0 else 0
            dot(at, row_bytes, k, x, q16_stride(k), count, start, y + 4 * first, 4 * y_stride, tiles, tile)
            first = v.take_work(counter, ROWS)

    return run
