"""Online softmax: the partial result of one query over some keys, and how to merge two of them.

A partial result is float32: the weighted sum of values (width,), the sum of weights followed by 15 zeros, and the
largest score followed by 15 unused places. A weight is exp(score - largest score). Milakov and Gimelshein 2018, arXiv
1805.02867.
"""

from __future__ import annotations

from typing import Any

from ..quant.simd.instruction_set import InstructionSet
from .exp import exp, exp_below
from .kv.kv_type import ALIGN, padded

NO_SINK = -3.0e38  # a score whose weight is 0 beside that of any other score
TAIL = 16  # numbers of the sum of weights with its zeros: it is merged in vectors, as the sums of values are


def partial_bytes(dim: int) -> int:
    """Bytes of a partial result of `dim` values."""
    return 4 * (padded(dim) + 2 * TAIL)


def softcap_scores(v: InstructionSet) -> Any:
    """`(scores, count, softcap)`: softcap * tanh(score / softcap) in place, with tanh x = 1 - 2 / (e^2x + 1)."""
    f32, power = v.f32, exp(v, v.f32, v.i32)

    def run(scores, count, softcap):
        double, less = v.float32(2) / softcap, v.splat(f32, v.float32(-2) * softcap)
        for i in range(0, count, v.LANES):
            e = power(v.load(f32, scores + 4 * i) * double)
            v.store(scores + 4 * i, less / (e + 1.0) + softcap)

    return v.jitable(run)


def start(v: InstructionSet) -> Any:
    """`(result, width, sink)`: initialize a result that holds only its head's sink."""
    f32x8 = v.f32x8

    def run(result, width, sink):
        for i in range(0, width + TAIL, 8):
            v.store(result + 4 * i, v.zero(f32x8))
        v.store(result + 4 * width, v.float32(1))
        v.store(result + 4 * (width + TAIL), sink)

    return v.jitable(run)


def exponentiate(v: InstructionSet) -> Any:
    """`(scores, count, begin, end, result, width)`: scores become weights in place; 0 outside begin .. end - 1.

    Writes the sum of weights and the largest score to `result`; the caller writes the weighted sum of values.
    """
    f32x8, hidden, f32 = v.f32x8, v.float32(NO_SINK), v.Vec("f32", ALIGN)  # whose registers hide each other's latency
    power = exp_below(v, f32, v.Vec("i32", ALIGN))

    @v.jitable
    def mask(scores, count, begin, end, value):
        for i in range(min(begin, count)):
            v.store(scores + 4 * i, value)
        for i in range(max(end, 0), count):
            v.store(scores + 4 * i, value)

    @v.jitable
    def largest(scores, count):
        most = v.splat(f32, hidden)
        for i in range(0, 4 * count, 4 * ALIGN):
            most = v.maximum(v.load(f32, scores + i), most)
        return v.reduce_max(most)

    def run(scores, count, begin, end, result, width):
        mask(scores, count, begin, end, hidden)
        peak = largest(scores, count)
        total = v.zero(f32)
        for i in range(0, 4 * count, 4 * ALIGN):
            weights = power(v.load(f32, scores + i) - v.splat(f32, peak))
            v.store(scores + i, weights)
            total = total + weights
        mask(scores, count, begin, end, v.float32(0))
        v.store(result + 4 * width, v.zero(f32x8))
        v.store(result + 4 * (width + 8), v.zero(f32x8))
        v.store(result + 4 * width, v.reduce_add(total))
        v.store(result + 4 * (width + TAIL), peak)

    return v.jitable(run)


def merge(v: InstructionSet) -> Any:
    """`(result, other, width)`: merge `other`, of later keys, into `result`."""
    f32, f32x8, power, first_lane = v.f32, v.f32x8, exp(v, v.f32x8, v.i32x8), v.slice_of(0, 1)

    def run(result, other, width):
        peaks = 4 * (width + TAIL)
        before, after = v.load_splat(f32x8, result + peaks), v.load_splat(f32x8, other + peaks)
        top = v.maximum(after, before)
        shrink, factor = v.reduce_add(first_lane(power(before - top))), v.reduce_add(first_lane(power(after - top)))
        for i in range(0, width + TAIL, v.LANES):
            sums = v.load(f32, result + 4 * i) * shrink
            v.store(result + 4 * i, v.fma(v.load(f32, other + 4 * i), v.splat(f32, factor), sums))
        v.store(result + peaks, v.reduce_add(first_lane(top)))

    return v.jitable(run)


def normalize(v: InstructionSet) -> Any:
    """`(result, width, out, dim)`: out (dim,) float32 = weighted sum of values / sum of weights."""
    f32x8 = v.f32x8

    def run(result, width, out, dim):
        scale = v.float32(1) / v.load_f32(result + 4 * width)
        for i in range(0, dim - 7, 8):
            v.store(out + 4 * i, v.load(f32x8, result + 4 * i) * scale)
        for i in range(dim // 8 * 8, dim):
            v.store(out + 4 * i, v.load_f32(result + 4 * i) * scale)

    return v.jitable(run)
