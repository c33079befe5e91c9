"""Activations as 16-bit integers, for products whose weights become such, too: Q16 records, one per token.

A record has LINE bytes for every GROUP values, the last of which may be fewer: the integers, int16, at 0; their scale,
float32, at SCALE. They use 14 of their bits, which leaves the others to what they are multiplied with, see
`int16_weights`.
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

GROUP, BLOCK = 128, 32  # values that share a scale; their number is a multiple of BLOCK
LINE, SCALE = 2 * GROUP + 4, 2 * GROUP
MOST = 8191


def q16_bytes(k: int) -> int:
    """Bytes of the record of one row of `k` values: an odd number of cache lines keeps rows off the same cache sets."""
    return (((k + GROUP - 1) // GROUP * LINE + 63) // 64 | 1) * 64


def q16_reference(x: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """What `quantize_q16` makes: x (tokens, k) float32 -> integers (tokens, k), scales (tokens, k / GROUP, rounded up);
    x ~ their product."""
    import numpy as np

    most = np.maximum.reduceat(np.abs(x), np.arange(0, x.shape[1], GROUP), 1)
    inverse = np.divide(np.float32(MOST), most, out=np.zeros_like(most), where=most > 0)
    each = np.repeat(inverse, GROUP, 1)[:, : x.shape[1]]
    return np.rint(x * each).astype(np.int16), most * np.float32(1 / MOST)


@kernel("tokens x out k", pieces="tokens")
def quantize_q16(v: InstructionSet) -> Any:
    """out (tokens, q16_bytes(k)) = x (tokens, k) float32 in Q16 records; k is a multiple of BLOCK.

    NaN and infinity reach the group's scale.
    """
    f32x32, i32x32, i16x32, float32 = v.Vec("f32", BLOCK), v.Vec("i32", BLOCK), v.Vec("i16", BLOCK), v.float32
    record_bytes = v.jitable(q16_bytes)

    @v.jitable
    def quantize_group(p, q, n):
        sizes = v.zero(i32x32)  # sizes of floats are ordered as their bits
        for i in range(0, n, BLOCK):
            sizes = v.maximum(sizes, v.bitcast(i32x32, v.load(f32x32, p + 4 * i)) & 0x7FFFFFFF)
        most = v.as_f32(v.reduce_max(sizes))
        inverse = v.splat(f32x32, float32(MOST) / most if most > 0 else float32(0))
        for i in range(0, n, BLOCK):
            rounded = v.mul_exact(v.load(f32x32, p + 4 * i), inverse) + ROUNDER
            v.store(q + 2 * i, v.truncate(i16x32, v.bitcast(i32x32, rounded)))
        v.store(q + SCALE, most * float32(1 / MOST))

    @v.jitable
    def quantize_token(t, x, out, k):
        record = out + record_bytes(k) * t
        for at in range(0, k, GROUP):
            quantize_group(x + 4 * (k * t + at), record + at // GROUP * LINE, min(GROUP, k - at))

    every = each_token(v, quantize_token)

    def run(counter, ith, nth, tokens, x, out, k):
        every(counter, nth, tokens, x, out, k)

    return run
