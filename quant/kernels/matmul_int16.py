"""Matrix products of weights and activations as 16-bit integers, in tiles of rows for every number of tokens."""

from __future__ import annotations

from typing import Any

from ..format import Format
from ..jit.kernel import kernel
from ..simd.instruction_set import InstructionSet
from .gemm_int16 import band_dot
from .int16_weights import int16_bytes, set_for_int16
from .interleave import MOST_LANES
from .panels import BAND
from .q16_activations import BLOCK, q16_bytes

X86 = frozenset({"avx2", "avxvnni", "avx512"})  # where int16 are multiplied at half the rate of bytes, or faster


def use_int16(fmt: type[Format], rows: int, k: int, isa: str) -> bool:
    """Whether `matmul_int16` is worth its time on an instruction set, and takes a matrix of `rows` rows of `k` weights.

    Weights of fewer than 8 bits lose more than activations of 8 bits do, and are faster as bytes; on ARM bytes are four
    times as fast. Imports no Numba.
    """
    return isa in X86 and fmt.nbytes >= fmt.block and rows % MOST_LANES == 0 and k % BLOCK == 0


@kernel("tokens weights x y rows k y_stride bias")
def matmul_int16(v: InstructionSet) -> Any:
    """y (tokens, rows) = x (tokens, k) @ weights (rows, k).T + bias, for weights in the tiles of `int16_weights`.

    `tokens` is the address of their number; `x` are Q16 records, `y` is float32, `y_stride` floats from token to token;
    `bias` is the address of (rows,) float32 that are added, 0 for none; `rows` is a multiple of MOST_LANES and `k` of
    32. A token's product has the same bits in every batch.
    """
    v = set_for_int16(v)
    dot, q16_stride, tile_bytes = band_dot(v), v.jitable(q16_bytes), v.jitable(int16_bytes)

    def run(counter, ith, nth, tokens, weights, x, y, rows, k, y_stride, bias):
        count, band = v.load_i64(tokens), v.take_work(counter, 1)
        while band < rows // BAND:
            first = BAND * band
            tiles, start = weights + tile_bytes(BAND, k) * band, bias + 4 * first if bias != 0 else 0
            dot(tiles, k, x, q16_stride(k), count, start, y + 4 * first, 4 * y_stride)
            band = v.take_work(counter, 1)

    return run
