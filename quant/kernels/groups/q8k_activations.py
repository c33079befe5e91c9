"""Activations as bytes with one scale for 256 values, as llama.cpp's Q8_K has it: Q8K records, one for each token.

A record has LINE bytes for every GROUP values: the bytes, int8; from PAIRS on, for every 16 of them minus 32 times the
sums of first and of second pairs of four, two int16 (see `q8_activations`); their scale, float32, at SCALE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...simd.instruction_set import InstructionSet
from ..panels import GROUP
from ..q8_activations import pair_sums

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PAIRS, SCALE, LINE, MOST = 256, 320, 384, 127
PART = 32  # values that are quantized at once


def q8k_bytes(k: int) -> int:
    """Bytes of the record of one row of `k` values: an odd number of cache lines keeps rows off the same cache sets."""
    return (k // GROUP * (LINE // 64) | 1) * 64


def q8k_reference(x: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """What `q8k_quantizer` makes: x (tokens, k) float32 -> bytes (tokens, k), scales (tokens, k / 256)."""
    import numpy as np

    groups = x.reshape(len(x), -1, GROUP)
    most = np.abs(groups).max(-1)
    inverse = np.divide(np.float32(MOST), most, out=np.zeros_like(most), where=most > 0)
    return np.rint(groups * inverse[..., None]).astype(np.int8).reshape(x.shape), most * np.float32(1 / MOST)


def q8k_quantizer(v: InstructionSet) -> Any:
    """`(row, record, k)`: k float32 at `row`, a multiple of 256, into a record. NaN and infinity reach the scale."""
    f32, i32, i8, i32x8, float32 = v.Vec("f32", PART), v.Vec("i32", PART), v.i8x32, v.i32x8, v.float32
    int32, pairs = v.int32, pair_sums(v)

    @v.jitable
    def peak_of(p):
        most = v.zero(i32)
        for at in range(0, 4 * GROUP, 4 * PART):
            most = v.maximum(most, v.bitcast(i32, v.load(f32, p + at)) & 0x7FFFFFFF)
        return v.as_f32(v.reduce_max(most))  # sizes of floats are ordered as their bits

    @v.jitable
    def quantize_group(p, q):
        peak = peak_of(p)
        inverse = float32(MOST) / peak if peak > 0 else float32(0)
        for at in range(0, GROUP, PART):
            whole = v.truncate(i8, v.to_i32(i32, v.round_even(v.load(f32, p + 4 * at) * inverse)))
            both = v.dot4(v.zero(i32x8), v.splat(i8, 1), whole)
            first = v.dot4(v.zero(i32x8), v.bitcast(i8, v.splat(i32x8, 0x0101)), whole)
            low = pairs(v.reduce_add(v.low_half(both)), v.reduce_add(v.low_half(first)))
            high = pairs(v.reduce_add(v.high_half(both)), v.reduce_add(v.high_half(first)))
            v.store(q + at, whole)
            v.store(q + PAIRS + at // 4, int32(low))
            v.store(q + PAIRS + at // 4 + 4, int32(high))
        v.store(q + SCALE, peak * float32(1 / MOST))

    def run(row, record, k):
        for at in range(0, k, GROUP):
            quantize_group(row + 4 * at, record + at // GROUP * LINE)

    return v.jitable(run)
