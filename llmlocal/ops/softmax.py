"""Rows of a softmax that comes in pieces: their records, and how two become one. Knows no cache and no thread.

A record of `width` values is float32: the sums of values under the weights (width,), the sum of the weights and 15
zeros, the greatest score and 15 places. Weights are powers of e of scores less the greatest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..quant.simd.instruction_set import InstructionSet
from .exp import exp, exp_below
from .kv.kind import padded

NO_SINK = -3.0e38  # a score whose weight is 0 beside any other
TAIL = 16  # the sum of weights stands among zeros, so that it merges as the sums do, bit by bit
Bend = Callable[..., Any]


def record_bytes(dim: int) -> int:
    """Bytes of the record of a row of `dim` values."""
    return 4 * (padded(dim) + 2 * TAIL)


def as_they_are(v: InstructionSet) -> Bend:
    """`(points, count)`: scores stay what they are."""
    return v.jitable(lambda points, count: None)


def cap(v: InstructionSet, softcap: float) -> Bend:
    """`(points, count)`: scores become softcap * tanh(score / softcap); tanh x = 1 - 2 / (e^2x + 1)."""
    f32, power = v.f32, exp(v, v.f32, v.i32)
    double, most, less = 2 / softcap, softcap, -2 * softcap

    def run(points, count):
        for i in range(0, count, v.LANES):
            e = power(v.load(f32, points + 4 * i) * double)
            v.store(points + 4 * i, v.splat(f32, less) / (e + 1.0) + most)

    return v.jitable(run)


def start(v: InstructionSet) -> Any:
    """`(record, width, sink)`: a row that has seen nothing but its head's sink."""
    f32x8 = v.f32x8

    def run(record, width, sink):
        for i in range(0, width + TAIL, 8):
            v.store(record + 4 * i, v.zero(f32x8))
        v.store(record + 4 * width, v.float32(1))
        v.store(record + 4 * (width + TAIL), sink)

    return v.jitable(run)


def weigh(v: InstructionSet, bend: Bend) -> Any:
    """`(points, count, begin, end, record, width)`: scores become weights, those before begin or from end on 0.

    The record gets the sum of the weights and the greatest score; the sums of values are the caller's.
    """
    f32, f32x8, power, lanes, never = v.f32, v.f32x8, exp_below(v, v.f32, v.i32), v.LANES, v.float32(NO_SINK)

    @v.jitable
    def hide(points, count, begin, end, what):
        for i in range(min(begin, count)):
            v.store(points + 4 * i, what)
        for i in range(max(end, 0), count):
            v.store(points + 4 * i, what)

    @v.jitable
    def greatest(points, count):
        low = high = v.splat(f32, never)  # two chains: a comparison waits for the one before
        for i in range(0, 4 * count, 8 * lanes):
            low = v.maximum(v.load(f32, points + i), low)
            high = v.maximum(v.load(f32, points + 4 * lanes + i), high)
        return v.reduce_max(v.maximum(low, high))

    def run(points, count, begin, end, record, width):
        bend(points, count)
        hide(points, count, begin, end, never)
        peak = greatest(points, count)
        low = high = v.zero(f32)
        for i in range(0, 4 * count, 8 * lanes):
            first = power(v.load(f32, points + i) - v.splat(f32, peak))
            second = power(v.load(f32, points + 4 * lanes + i) - v.splat(f32, peak))
            v.store(points + i, first)
            v.store(points + 4 * lanes + i, second)
            low, high = low + first, high + second
        hide(points, count, begin, end, v.float32(0))
        v.store(record + 4 * width, v.zero(f32x8))
        v.store(record + 4 * (width + 8), v.zero(f32x8))
        v.store(record + 4 * width, v.reduce_add(low + high))
        v.store(record + 4 * (width + TAIL), peak)

    return v.jitable(run)


def merge(v: InstructionSet) -> Any:
    """`(record, other, width)`: the record becomes that of both; `other` comes later in the sequence."""
    f32, f32x8, power, first_lane = v.f32, v.f32x8, exp(v, v.f32x8, v.i32x8), v.slice_of(0, 1)

    def run(record, other, width):
        peaks = 4 * (width + TAIL)
        before, after = v.load_splat(f32x8, record + peaks), v.load_splat(f32x8, other + peaks)
        top = v.maximum(after, before)
        shrink, factor = v.reduce_add(first_lane(power(before - top))), v.reduce_add(first_lane(power(after - top)))
        for i in range(0, width + TAIL, v.LANES):
            sums = v.load(f32, record + 4 * i) * shrink
            v.store(record + 4 * i, v.fma(v.load(f32, other + 4 * i), v.splat(f32, factor), sums))
        v.store(record + peaks, v.reduce_add(first_lane(top)))

    return v.jitable(run)


def finish(v: InstructionSet) -> Any:
    """`(record, width, out, dim)`: out (dim,) = the sums over the sum of the weights."""
    f32x8 = v.f32x8

    def run(record, width, out, dim):
        scale = v.float32(1) / v.load_f32(record + 4 * width)
        for i in range(0, dim - 7, 8):
            v.store(out + 4 * i, v.load(f32x8, record + 4 * i) * scale)
        for i in range(dim // 8 * 8, dim):
            v.store(out + 4 * i, v.load_f32(record + 4 * i) * scale)

    return v.jitable(run)
