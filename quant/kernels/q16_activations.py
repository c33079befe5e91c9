"""Activations as 16-bit integers, for products whose weights become such, too: Q16 records, one per token.

A record has for every GROUP values, the last of which may be fewer, their integers, int16, of every four the second and
the fourth, then the first and the third; their scale, float32; minus the sum of the products of every first and second,
third and fourth, int32, which products of sums contain too much (see `matmul_int16`): LINE bytes. As a vector the
integers of a group are LENGTH long at most, as are those of weights: so no sum of their products leaves 32 bits
(Cauchy-Schwarz).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..jit.kernel import kernel
from ..simd.each_token import each_token
from ..simd.instruction_set import InstructionSet
from .q8_activations import ROUNDER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP, BLOCK = 384, 32  # values that share a scale; their number is a multiple of BLOCK
LINE = 2 * GROUP + 8
WIDEST = 16383  # the sum of two has 16 bits
LENGTH = 46330  # rounding adds 10 at most, and the square of that is less than 2^31
SMALL, LARGE = 1e-15, 1e15  # between which squares of what is greatest fit a float32, and their sum
LEAST = 1e-30  # what is nowhere greater is taken for zeros


def q16_bytes(k: int) -> int:
    """Bytes of the record of one row of `k` values: an odd number of cache lines keeps rows off the same cache sets."""
    return ((2 * k + 8 * ((k + GROUP - 1) // GROUP) + 63) // 64 | 1) * 64


def q16_scales(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scales (rows, k / GROUP, rounded up) with which rows (rows, k) of weights or activations become integers."""
    import numpy as np

    starts = np.arange(0, x.shape[1], GROUP)
    lengths = np.sqrt(np.add.reduceat(x * x, starts, 1))
    scales: NDArray[np.float64] = np.maximum(lengths / LENGTH, np.maximum.reduceat(np.abs(x), starts, 1) / WIDEST)
    return scales


def q16_reference(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """What rows (rows, k) of weights or activations are as integers times their scales."""
    import numpy as np

    each = np.repeat(q16_scales(x), GROUP, 1)[:, : x.shape[1]]
    rounded: NDArray[np.float64] = np.rint(np.divide(x, each, out=np.zeros_like(x), where=each > 0)) * each
    return rounded


@kernel("tokens x out k", pieces="tokens")
def quantize_q16(v: InstructionSet) -> Any:
    """out (tokens, q16_bytes(k)) = x (tokens, k) float32 in Q16 records; k is a multiple of BLOCK.

    NaN and infinity reach the group's scale.
    """
    f32x32, i32x32, i16x32, i64x8 = (
        v.Vec("f32", BLOCK),
        v.Vec("i32", BLOCK),
        v.Vec("i16", BLOCK),
        v.Vec("i64", BLOCK // 4),
    )
    i32x16, float32, int32, record_bytes = v.Vec("i32", BLOCK // 2), v.float32, v.int32, v.jitable(q16_bytes)

    @v.jitable
    def scale_of(p, n, most):
        inverse, squares = v.splat(f32x32, float32(1) / most), v.zero(f32x32)
        for i in range(0, n, BLOCK):
            part = v.load(f32x32, p + 4 * i) * inverse  # whose square fits a float32
            squares = v.fma(part, part, squares)
        return most * max(v.sqrt(v.reduce_add(squares)) * float32(1 / LENGTH), float32(1 / WIDEST))

    @v.jitable
    def quantize_group(p, q, n):
        sizes, squares = v.zero(i32x32), v.zero(f32x32)  # sizes of floats are ordered as their bits
        for i in range(0, n, BLOCK):
            part = v.load(f32x32, p + 4 * i)
            sizes, squares = v.maximum(sizes, v.bitcast(i32x32, part) & 0x7FFFFFFF), v.fma(part, part, squares)
        most = v.as_f32(v.reduce_max(sizes))
        if most > SMALL and most < LARGE:
            scale = max(v.sqrt(v.reduce_add(squares)) * float32(1 / LENGTH), most * float32(1 / WIDEST))
        else:
            scale = most if most <= LEAST else scale_of(p, n, most)
        inverse = v.splat(f32x32, float32(0) if most <= LEAST else float32(1) / scale)
        neighbours = v.zero(i32x16)
        for i in range(0, n, BLOCK):
            rounded = v.load(f32x32, p + 4 * i) * inverse + ROUNDER
            four = v.bitcast(i64x8, v.truncate(i16x32, v.bitcast(i32x32, rounded)))
            second = (four >> 16) & 0xFFFF | (four >> 48) << 16
            first = four & 0xFFFF | (four >> 16) & 0xFFFF0000
            v.store(q + 2 * i, second | first << 32)
            neighbours = v.dot2(neighbours, v.bitcast(i16x32, second), v.bitcast(i16x32, first))
        v.store(q + 2 * n, scale)
        v.store(q + 2 * n + 4, int32(-v.reduce_add(neighbours)))

    @v.jitable
    def quantize_token(t, x, out, k):
        record = out + record_bytes(k) * t
        for at in range(0, k, GROUP):
            quantize_group(x + 4 * (k * t + at), record + at // GROUP * LINE, min(GROUP, k - at))

    every = each_token(v, quantize_token)

    def run(counter, ith, nth, tokens, x, out, k):
        every(counter, nth, tokens, x, out, k)

    return run
