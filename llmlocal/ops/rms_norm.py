"""RMS norm: rows divided by their root mean square, times a weight. Zhang and Sennrich 2019, arXiv 1910.07467."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def rms_norm_reference(x: NDArray[np.float64], weight: NDArray[np.float64], eps: float) -> NDArray[np.float64]:
    """x / sqrt(mean(x^2) + eps) * weight: x (tokens, width), weight (width,) -> (tokens, width)."""
    import numpy as np

    normed: NDArray[np.float64] = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight
    return normed


@kernel("tokens x weight out width per_token eps", pieces="tokens")
def rms_norm(v: InstructionSet) -> Any:
    """out = rms_norm(x), both (tokens, per_token, width) float32; `weight` (width,); `eps` is a float.

    `per_token` is 1, or the number of heads, which share the weight.
    """
    return _rows(v, shared=True)


@kernel("tokens x weight out width per_token eps", pieces="tokens")
def grouped_rms_norm(v: InstructionSet) -> Any:
    """As `rms_norm`, with `weight` (per_token, width): each group has a weight of its own."""
    return _rows(v, shared=False)


def _rows(v: InstructionSet, *, shared: bool) -> Any:
    f32x8, f32x32 = v.f32x8, v.Vec("f32", 32)  # 32 lanes: sums that need not wait for each other

    @v.jitable
    def norm_row(x, weight, out, width, eps):
        whole, many = width // 8 * 8, width // 32 * 32
        squares, rest = v.zero(f32x32), v.zero(f32x8)
        for i in range(0, many, 32):
            part = v.load(f32x32, x + 4 * i)
            squares = v.fma(part, part, squares)
        for i in range(many, whole, 8):
            few = v.load(f32x8, x + 4 * i)
            rest = v.fma(few, few, rest)
        total = v.reduce_add(squares) + v.reduce_add(rest)
        for i in range(whole, width):
            total += v.load_f32(x + 4 * i) * v.load_f32(x + 4 * i)
        scale = v.float32(1) / v.sqrt(total / v.float32(width) + eps)
        for i in range(0, whole, 8):
            v.store(out + 4 * i, v.load(f32x8, x + 4 * i) * scale * v.load(f32x8, weight + 4 * i))
        for i in range(whole, width):
            v.store(out + 4 * i, v.load_f32(x + 4 * i) * scale * v.load_f32(weight + 4 * i))

    def run(counter, ith, nth, tokens, x, weight, out, width, per_token, eps):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            for i in range(t * per_token, (t + 1) * per_token):
                own = weight if shared else weight + 4 * width * (i - t * per_token)
                norm_row(x + 4 * width * i, own, out + 4 * width * i, width, v.as_f32(eps))
            t = v.take_work(counter, 1)

    return run
