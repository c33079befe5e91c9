"""Activations as 16-bit integers, for products whose weights become such, too: Q16 records, one per token.

A record has LINE bytes for every 32 values: the integers, int16, at 0; their scale, float32, at SCALE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..jit.kernel import kernel
from ..simd.each_token import each_token
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK, LINE, SCALE = 32, 68, 64
MOST = 32767


def q16_bytes(k: int) -> int:
    """Bytes of the record of one row of `k` values: an odd number of cache lines keeps rows off the same cache sets."""
    return ((k // BLOCK * LINE + 63) // 64 | 1) * 64


def q16_reference(x: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """What `quantize_q16` makes: x (..., k) float32 -> integers (..., k), scales (..., k / 32); x ~ their product."""
    import numpy as np

    groups = x.reshape(*x.shape[:-1], -1, BLOCK)
    most = np.abs(groups).max(-1)
    inverse = np.divide(np.float32(MOST), most, out=np.zeros_like(most), where=most > 0)
    return np.rint(groups * inverse[..., None]).astype(np.int16).reshape(x.shape), most * np.float32(1 / MOST)


@kernel("tokens x out k", pieces="tokens")
def quantize_q16(v: InstructionSet) -> Any:
    """out (tokens, q16_bytes(k)) = x (tokens, k) float32 in Q16 records. NaN and infinity reach the group's scale."""
    f32x32, i32x32, i16x32, float32 = v.Vec("f32", BLOCK), v.Vec("i32", BLOCK), v.Vec("i16", BLOCK), v.float32
    record_bytes = v.jitable(q16_bytes)

    @v.jitable
    def quantize_group(p, q):
        x = v.load(f32x32, p)
        most = v.as_f32(v.reduce_max(v.bitcast(i32x32, x) & 0x7FFFFFFF))  # sizes of floats are ordered as their bits
        inverse = float32(MOST) / most if most > 0 else float32(0)
        v.store(q, v.truncate(i16x32, v.to_i32(i32x32, v.round_even(x * inverse))))
        v.store(q + SCALE, most * float32(1 / MOST))

    @v.jitable
    def quantize_token(t, x, out, k):
        record = out + record_bytes(k) * t
        for i in range(k // BLOCK):
            quantize_group(x + 4 * (k * t + BLOCK * i), record + LINE * i)

    every = each_token(v, quantize_token)

    def run(counter, ith, nth, tokens, x, out, k):
        every(counter, nth, tokens, x, out, k)

    return run
