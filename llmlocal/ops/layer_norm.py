"""Layer norm of every token: mean 0, variance 1, times a weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def layer_norm_meaning(x: NDArray[np.float64], weight: NDArray[np.float64], eps: float) -> NDArray[np.float64]:
    """x (..., weights, width), weight (weights, width) -> as x. Ba et al. 2016, arXiv 1607.06450."""
    import numpy as np

    centred = x - x.mean(-1, keepdims=True)
    normed: NDArray[np.float64] = centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + eps) * weight
    return normed


@kernel("tokens x weight out width per_token eps")
def layer_norm(v: InstructionSet) -> Any:
    """out = layer_norm(x) for (tokens, per_token, width) float32; `eps` is a float.

    `weight` is (per_token, width): heads, which are rows of a token, have weights of their own.
    """
    f32x8 = v.f32x8

    @v.jitable
    def mean_of(x, width, centre, squared):
        """Mean of x - centre, or of its squares."""
        whole, sums, total = width // 8 * 8, v.zero(f32x8), v.float32(0)
        for i in range(0, whole, 8):
            part = v.load(f32x8, x + 4 * i) - centre
            sums = v.fma(part, part, sums) if squared else sums + part
        for i in range(whole, width):
            one = v.load_f32(x + 4 * i) - centre
            total += one * one if squared else one
        return (v.reduce_add(sums) + total) / v.float32(width)

    @v.jitable
    def norm_row(x, weight, out, width, eps):
        whole, centre = width // 8 * 8, mean_of(x, width, v.float32(0), False)
        scale = v.float32(1) / v.sqrt(mean_of(x, width, centre, True) + eps)
        for i in range(0, whole, 8):
            v.store(out + 4 * i, (v.load(f32x8, x + 4 * i) - centre) * scale * v.load(f32x8, weight + 4 * i))
        for i in range(whole, width):
            v.store(out + 4 * i, (v.load_f32(x + 4 * i) - centre) * scale * v.load_f32(weight + 4 * i))

    def run(counter, ith, nth, tokens, x, weight, out, width, per_token, eps):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            for i in range(per_token):
                at = 4 * width * (t * per_token + i)
                norm_row(x + at, weight + 4 * width * i, out + at, width, v.as_f32(eps))
            t = v.take_work(counter, 1)

    return run
