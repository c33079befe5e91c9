"""Activations for Winograd's products of sums: 16-bit integers with a scale for 256 values, a record for each token.

A record has LINE bytes for every GROUP values: the integers, int16, of every four the second and the fourth, then the
first and the third; their scale, float32, at SCALE; at CORRECTION minus the sum of the products of every first and
second, third and fourth, int32, which those products contain too much (see `group_winograd`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...simd.instruction_set import InstructionSet
from ..panels import GROUP

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCALE, CORRECTION, LINE = 512, 516, 576
PART = 32  # values that are quantized at once; the last group may have fewer than GROUP, a multiple of it
MOST = 2047  # times weights of at most 4096, 256 of them: below 2^31


def winograd_bytes(k: int) -> int:
    """Bytes of the record of one row of `k` values: an odd number of cache lines keeps rows off the same cache sets."""
    return ((k + GROUP - 1) // GROUP * (LINE // 64) | 1) * 64


def winograd_reference(x: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """What `winograd_quantizer` makes: x (tokens, k) float32 -> integers (tokens, k), scales (tokens, groups).

    x is about their product.
    """
    import numpy as np

    tokens, k = x.shape
    groups = -(-k // GROUP)
    padded = np.zeros((tokens, groups * GROUP), np.float32)
    padded[:, :k] = x
    padded = padded.reshape(tokens, groups, GROUP)
    most = np.abs(padded).max(-1)
    inverse = np.divide(np.float32(MOST), most, out=np.zeros_like(most), where=most > 0)
    q = np.rint(padded * inverse[..., None]).astype(np.int16).reshape(tokens, -1)[:, :k]
    return q, most * np.float32(1 / MOST)


def winograd_quantizer(v: InstructionSet) -> Any:
    """`(row, record, k)`: k float32 at `row` into a record. NaN and infinity reach the group's scale."""
    f32, i32, i16, i64 = v.Vec("f32", PART), v.Vec("i32", PART), v.Vec("i16", PART), v.Vec("i64", PART // 4)
    float32, int32 = v.float32, v.int32

    @v.jitable
    def peak_of(p, count):
        most = v.zero(i32)
        for at in range(0, 4 * count, 4 * PART):
            most = v.maximum(most, v.bitcast(i32, v.load(f32, p + at)) & 0x7FFFFFFF)
        return v.as_f32(v.reduce_max(most))  # sizes of floats are ordered as their bits

    @v.jitable
    def quantize_group(p, q, count):
        peak, twice = peak_of(p, count), v.zero(i32)
        inverse = float32(MOST) / peak if peak > 0 else float32(0)
        for at in range(0, count, PART):
            whole = v.to_i32(i32, v.round_even(v.load(f32, p + 4 * at) * inverse))
            twice = twice + whole * v.swap_pairs(whole)
            four = v.bitcast(i64, v.truncate(i16, whole))
            second = (four >> 16) & 0xFFFF | (four >> 48) << 16
            v.store(q + 2 * at, second | (four & 0xFFFF) << 32 | (four & 0xFFFF00000000) << 16)
        v.store(q + SCALE, peak * float32(1 / MOST))
        v.store(q + CORRECTION, int32(-(v.reduce_add(twice) >> 1)))

    def run(row, record, k):
        for at in range(0, k, GROUP):
            quantize_group(row + 4 * at, record + at // GROUP * LINE, min(GROUP, k - at))

    return v.jitable(run)
