"""Activations as 16-bit integers, for products with weights of 16-bit floats: N16 records, one per token.

A record has LINE bytes for every 64 values: the integers, int16, at 0; their scale, float32, at SCALE. The scale bounds
their norm, not only their size: by Cauchy and Schwarz a sum of products with integers whose norm is bounded, too, never
overflows int32, and nothing is lost to a bound that no block comes near.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...jit.kernel import kernel
from ...simd.each_token import each_token
from ...simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK, LINE, SCALE = 64, 132, 128
MOST, NORM = 32767, 0.999 * 2**16  # of the integers of a block
WEIGHT_NORM = 2**15  # of a block of weights; rounding adds 4 to each norm at most


def n16_bytes(k: int) -> int:
    """Bytes of the record of one row of `k` values: an odd number of cache lines keeps rows off the same cache sets."""
    return ((k // BLOCK * LINE + 63) // 64 | 1) * 64


def n16_reference(x: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """What `quantize_n16` makes: x (..., k) float32 -> integers (..., k), scales (..., k / 64); x ~ their product."""
    import numpy as np

    groups = x.reshape(*x.shape[:-1], -1, BLOCK)
    most = np.abs(groups).max(-1, keepdims=True)
    inverse = np.divide(np.float32(1), most, out=np.zeros_like(most), where=most > 0)
    squares = (groups * inverse) ** 2
    while squares.shape[-1] > 1:
        half = squares.shape[-1] // 2
        squares = squares[..., :half] + squares[..., half:]
    with np.errstate(divide="ignore"):
        times = np.minimum(np.float32(MOST), np.float32(NORM) / np.sqrt(squares))
    return np.rint(groups * (inverse * times)).astype(np.int16).reshape(x.shape), (most / times)[..., 0]


@kernel("tokens x out k least", pieces="tokens")
def quantize_n16(v: InstructionSet) -> Any:
    """out (tokens, n16_bytes(k)) = x (tokens, k) float32 in N16 records; nothing of fewer than `least` tokens.

    NaN and infinity reach the block's scale.
    """
    f32x64, i32x64, i16x64, float32 = v.Vec("f32", BLOCK), v.Vec("i32", BLOCK), v.Vec("i16", BLOCK), v.float32
    record_bytes = v.jitable(n16_bytes)

    @v.jitable
    def quantize_block(p, q):
        x = v.load(f32x64, p)
        most = v.as_f32(v.reduce_max(v.bitcast(i32x64, x) & 0x7FFFFFFF))  # sizes of floats are ordered as their bits
        inverse = float32(1) / most if most > 0 else float32(0)
        part = x * inverse
        times = min(float32(MOST), float32(NORM) / v.sqrt(v.reduce_add(v.mul_exact(part, part))))
        v.store(q, v.truncate(i16x64, v.to_i32(i32x64, v.round_even(x * (inverse * times)))))
        v.store(q + SCALE, most / times)

    @v.jitable
    def quantize_token(t, x, out, k):
        record = out + record_bytes(k) * t
        for i in range(k // BLOCK):
            quantize_block(x + 4 * (k * t + BLOCK * i), record + LINE * i)

    every = each_token(v, quantize_token)

    def run(counter, ith, nth, tokens, x, out, k, least):
        if v.load_i64(tokens) >= least:
            every(counter, nth, tokens, x, out, k)

    return run
