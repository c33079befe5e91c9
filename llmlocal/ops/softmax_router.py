"""Routing by softmax scores, with a bias that only the choice of experts sees. Baidu 2025, ERNIE 4.5."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import Kernel
from ..quant.simd.instruction_set import InstructionSet
from .exp import exp
from .sigmoid_router import Arguments, biased_router

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def softmax_router_reference(
    scores: NDArray[np.float64], bias: NDArray[np.float64], used: int, normalize_weights: bool, factor: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """As `sigmoid_router_reference`, of the softmax of scores (tokens, experts) over all experts."""
    import numpy as np

    weights = np.exp(scores - scores.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    chosen = np.argsort(-(weights + bias), axis=1, kind="stable")[:, :used]
    weights = np.take_along_axis(weights, chosen, 1)
    return chosen, factor * (weights / weights.sum(1, keepdims=True) if normalize_weights else weights)


def _build(v: InstructionSet) -> Any:
    power, lane = exp(v, v.f32x8, v.i32x8), v.slice_of(0, 1)

    @v.jitable
    def softmax(scores, experts):
        top, total = v.load_f32(scores), v.float32(0)
        for e in range(experts):
            top = max(top, v.load_f32(scores + 4 * e))
        for e in range(experts):
            p = v.reduce_add(lane(power(v.splat(v.f32x8, v.load_f32(scores + 4 * e) - top))))
            v.store(scores + 4 * e, p)
            total += p
        for e in range(experts):
            v.store(scores + 4 * e, v.load_f32(scores + 4 * e) / total)
        return total

    return biased_router(v, softmax)


# As `sigmoid_router`: of equal scores the lower number is chosen, a NaN among the scores makes the weights NaN.
softmax_router = Kernel("softmax_router", Arguments._fields, _build, pieces="tokens")
