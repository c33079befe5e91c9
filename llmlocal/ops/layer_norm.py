"""Layer norm: rows scaled to mean 0 and variance 1, times a weight. Ba et al. 2016, arXiv 1607.06450."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import kernel
from ..quant.simd.each_token import each_token
from ..quant.simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def layer_norm_reference(x: NDArray[np.float64], weight: NDArray[np.float64], eps: float) -> NDArray[np.float64]:
    """(x - mean) / sqrt(variance + eps) * weight: x (..., per_token, width), weight (per_token, width) -> as x."""
    import numpy as np

    centerd = x - x.mean(-1, keepdims=True)
    normed: NDArray[np.float64] = centerd / np.sqrt((centerd * centerd).mean(-1, keepdims=True) + eps) * weight
    return normed


@kernel("tokens x weight out width per_token eps", pieces="tokens")
def layer_norm(v: InstructionSet) -> Any:
    """out = layer_norm(x), both (tokens, per_token, width) float32; `weight` (per_token, width); `eps` is a float.

    `per_token` is 1, or the number of heads, each of which has a weight of its own.
    """
    f32x8 = v.f32x8

    @v.jitable
    def mean_of(x, width, center, squared):
        """Mean of x - center, or of its square."""
        whole, sums, total = width // 8 * 8, v.zero(f32x8), v.float32(0)
        for i in range(0, whole, 8):
            part = v.load(f32x8, x + 4 * i) - center
            sums = v.fma(part, part, sums) if squared else sums + part
        for i in range(whole, width):
            one = v.load_f32(x + 4 * i) - center
            total += one * one if squared else one
        return (v.reduce_add(sums) + total) / v.float32(width)

    @v.jitable
    def norm_row(x, weight, out, width, eps):
        whole, center = width // 8 * 8, mean_of(x, width, v.float32(0), False)
        scale = v.float32(1) / v.sqrt(mean_of(x, width, center, True) + eps)
        for i in range(0, whole, 8):
            v.store(out + 4 * i, (v.load(f32x8, x + 4 * i) - center) * scale * v.load(f32x8, weight + 4 * i))
        for i in range(whole, width):
            v.store(out + 4 * i, (v.load_f32(x + 4 * i) - center) * scale * v.load_f32(weight + 4 * i))

    @v.jitable
    def norm_token(t, x, weight, out, width, per_token, eps):
        for i in range(per_token):
            at = 4 * width * (t * per_token + i)
            norm_row(x + at, weight + 4 * width * i, out + at, width, v.as_f32(eps))

    every = each_token(v, norm_token)

    def run(counter, ith, nth, tokens, x, weight, out, width, per_token, eps):
        every(counter, nth, tokens, x, weight, out, width, per_token, eps)

    return run
