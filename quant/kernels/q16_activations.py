"""Activations as 16-bit integers, for products whose weights become such, too: Q16 records, one per token.

A record has LINE bytes for every 32 values: the integers, int16, at 0; their scale, float32, at SCALE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..jit.kernel import kernel
from ..simd.instruction_set import InstructionSet
from .q8_activations import peak

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


@kernel("tokens x out k")
def quantize_q16(v: InstructionSet) -> Any:
    """out (tokens, q16_bytes(k)) = x (tokens, k) float32 in Q16 records. NaN and infinity reach the group's scale."""
    f32x8, i32x8, i16x8, float32 = v.f32x8, v.i32x8, v.Vec("i16", 8), v.float32
    peak_of, record_bytes = peak(v), v.jitable(q16_bytes)

    @v.jitable
    def quantize_group(p, q):
        most = peak_of(p)
        inverse = float32(MOST) / most if most > 0 else float32(0)
        scale = most * float32(1 / MOST)
        for j in range(4):
            whole = v.to_i32(i32x8, v.round_even(v.load(f32x8, p + 32 * j) * inverse))
            v.store(q + 16 * j, v.truncate(i16x8, whole))
        v.store(q + SCALE, scale)

    def run(counter, ith, nth, tokens, x, out, k):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            record = out + record_bytes(k) * t
            for i in range(k // BLOCK):
                quantize_group(x + 4 * (k * t + BLOCK * i), record + LINE * i)
            t = v.take_work(counter, 1)

    return run
