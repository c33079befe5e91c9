"""Activations as bytes, the other operand of every integer format: Q8 records, one per token.

A record begins with a cache line for every 32 values: the bytes, int8, at 0; their scale, float32, at SCALE; minus
eight times their sum, int32, at SUM; scale times sum, float32, at SCALED; scale times the sum of the first half,
float32, at SCALED_LOW; minus eight times the sums of both halves, int32, at HALVES; for both halves, minus 32 times the
sums of first and of second pairs of four, two int16, at PAIRS. The sums let a format's offset and minimum leave the
inner loop: products start from them, so they are negative and already multiplied by the most common offset, 1 <<
SUM_SHIFT, or by that of 6 bits, 1 << PAIR_SHIFT. After the lines come three columns, float32 (k / 32,) each, for
reading eight groups at once: the scales, minus the sums of the low halves, minus the sums of the high halves; and all
bytes once more, without gaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..jit.kernel import kernel
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK, LINE = 32, 64
SCALE, SUM, SCALED, SCALED_LOW, HALVES, PAIRS = 32, 36, 40, 44, 48, 56
SUM_SHIFT, PAIR_SHIFT = 3, 5


def q8_bytes(k: int) -> int:
    """Bytes of the record of one row of `k` values; a spare line keeps rows off the same cache sets."""
    return k * 27 // 8 + LINE


def q8_reference(x: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """What `quantize_q8` computes: x (..., k) float32 -> bytes (..., k), scales (..., k / 32); x ~ bytes * scale."""
    import numpy as np

    groups = x.reshape(*x.shape[:-1], -1, BLOCK)
    peak = np.abs(groups).max(-1)
    inverse = np.divide(np.float32(127), peak, out=np.zeros_like(peak), where=peak > 0)
    q = np.rint(groups * inverse[..., None]).astype(np.int8)
    bits = (peak * np.float32(1 / 127)).view(np.int32)
    return q.reshape(x.shape), (bits + 0xFFF + (bits >> 13 & 1) >> 13 << 13).view(np.float32)


def peak(v: InstructionSet) -> Any:
    """`(p)`: the greatest magnitude of 32 float32 at an address, compared by their bits: NaN is the greatest of all."""
    f32x8, i32x8 = v.f32x8, v.i32x8

    @v.jitable
    def magnitude(p):
        return v.bitcast(i32x8, v.load(f32x8, p)) & 0x7FFFFFFF

    def run(p):
        low = v.maximum(magnitude(p), magnitude(p + 32))
        return v.as_f32(v.reduce_max(v.maximum(low, v.maximum(magnitude(p + 64), magnitude(p + 96)))))

    return v.jitable(run)


def _short_scale(v: InstructionSet) -> Any:
    """`(x)` to 11 significant bits: the precision of the float16 scales of other engines, without their range."""

    def run(x):
        bits = v.bits_of(x)
        return v.as_f32(bits + 0xFFF + (bits >> 13 & 1) >> 13 << 13)

    return v.jitable(run)


@kernel("tokens x out k")
def quantize_q8(v: InstructionSet) -> Any:
    """out (tokens, q8_bytes(k)) = x (tokens, k) float32 in Q8 records. NaN and infinity reach the group's scale."""
    f32x8, i32x8, i8x8, int32, float32 = v.f32x8, v.i32x8, v.Vec("i8", 8), v.int32, v.float32
    peak_of, short_scale = peak(v), _short_scale(v)

    @v.jitable
    def pairs(both, first):
        """Minus 32 times a sum, and times the rest of `both`, as two int16."""
        return int32((-first << PAIR_SHIFT) & 0xFFFF | (first - both) << (PAIR_SHIFT + 16))

    @v.jitable
    def quantize_group(p, q, column, column_bytes, plain):
        peak = peak_of(p)
        inverse = float32(127) / peak if peak > 0 else float32(0)
        for j in range(4):
            rounded = v.round_even(v.load(f32x8, p + 32 * j) * inverse)
            v.store(q + 8 * j, v.truncate(i8x8, v.to_i32(i32x8, rounded)))
        bytes_of = v.load(v.i8x32, q)
        v.store(plain, bytes_of)
        sums = v.dot4(v.zero(i32x8), v.splat(v.i8x32, 1), bytes_of)
        low, high = v.reduce_add(v.low_half(sums)), v.reduce_add(v.high_half(sums))
        scale = short_scale(peak * float32(1 / 127))
        v.store(q + SCALE, scale)
        v.store(q + SUM, int32(-(low + high) << SUM_SHIFT))
        v.store(q + SCALED, scale * float32(low + high))
        v.store(q + HALVES, int32(-low << SUM_SHIFT))
        v.store(q + HALVES + 4, int32(-high << SUM_SHIFT))
        v.store(q + SCALED_LOW, scale * float32(low))
        first = v.dot4(v.zero(i32x8), v.bitcast(v.i8x32, v.splat(i32x8, 0x0101)), bytes_of)
        v.store(q + PAIRS, pairs(low, v.reduce_add(v.low_half(first))))
        v.store(q + PAIRS + 4, pairs(high, v.reduce_add(v.high_half(first))))
        v.store(column, scale)
        v.store(column + column_bytes, float32(-low))
        v.store(column + 2 * column_bytes, float32(-high))

    def run(counter, ith, nth, tokens, x, out, k):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            for i in range(k // BLOCK):
                at, record = BLOCK * i, out + (k * 27 // 8 + LINE) * t
                plain = record + k * 19 // 8 + at
                quantize_group(x + 4 * (k * t + at), record + LINE * i, record + 2 * k + 4 * i, k // 8, plain)
            t = v.take_work(counter, 1)

    return run
