"""Routing by sigmoid scores, with a bias that only the choice of experts sees. DeepSeek-AI 2024, arXiv 2412.19437."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..quant.jit.kernel import Kernel
from ..quant.simd.instruction_set import InstructionSet
from .activations import sigmoid_of, sigmoid_reference
from .expert_groups import leave_best_groups
from .topk_router import each_token

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SMALLEST = 1e-20  # is added to the sum of weights, which may be 0


class Arguments(NamedTuple):
    """`weights` of the chosen experts sum to `factor` (a float) if `normalize_weights` is not 0."""

    tokens: int  # address of their number
    scores: int  # (tokens, experts) float32; overwritten
    bias: int  # (experts,) float32
    chosen: int  # (tokens, used) int64: expert numbers, best first
    weights: int  # (tokens, used) float32
    experts: int
    used: int
    normalize_weights: int
    factor: int
    groups: int  # of experts, of equal sizes; the chosen are of the `groups_used` best, see `expert_groups`
    groups_used: int
    group_best: int


def sigmoid_router_reference(
    scores: NDArray[np.float64], bias: NDArray[np.float64], used: int, normalize_weights: bool, factor: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """scores (tokens, experts), bias (experts,) -> chosen experts (tokens, used), best first, and their weights.

    The best have the greatest sigmoid(score) + bias; weights are sigmoid(score), divided by their sum if
    `normalize_weights`, times `factor`.
    """
    import numpy as np

    weights = sigmoid_reference(scores)
    chosen = np.argsort(-(weights + bias), axis=1, kind="stable")[:, :used]
    weights = np.take_along_axis(weights, chosen, 1)
    return chosen, factor * (weights / (weights.sum(1, keepdims=True) + SMALLEST) if normalize_weights else weights)


def biased_router(v: InstructionSet, probabilities: Any) -> Any:
    """A router's body; `probabilities(scores, experts)` overwrites a token's scores and returns a sum of them."""
    leave_groups = leave_best_groups(v)

    @v.jitable
    def route_token(a, t):
        scores, chosen, weights = a.scores + 4 * a.experts * t, a.chosen + 8 * a.used * t, a.weights + 4 * a.used * t
        total = probabilities(scores, a.experts)
        lost, chosen_total = total - total, v.float32(SMALLEST)  # NaN where a score is
        leave_groups(a, scores)
        for j in range(a.used):
            best, best_score = j, v.float32(-3.3e38)
            for e in range(a.experts):
                score = v.load_f32(scores + 4 * e) + v.load_f32(a.bias + 4 * e)
                if score > best_score:
                    best, best_score = e, score
            weight = v.load_f32(scores + 4 * best)
            v.store(scores + 4 * best, v.float32(-3.4e38))
            v.store(chosen + 8 * j, best)
            v.store(weights + 4 * j, weight + lost)
            chosen_total += weight
        factor = v.as_f32(a.factor)
        if a.normalize_weights != 0:
            factor = factor / chosen_total
        for j in range(a.used):
            v.store(weights + 4 * j, v.load_f32(weights + 4 * j) * factor)

    return each_token(v, Arguments, route_token)


def _build(v: InstructionSet) -> Any:
    f32x8, gated, lane = v.f32x8, sigmoid_of(v), v.slice_of(0, 1)

    @v.jitable
    def sigmoids(scores, experts):
        total = v.float32(0)
        for e in range(experts):
            score = v.load_splat(f32x8, scores + 4 * e)
            p = v.reduce_add(lane(gated(v.splat(f32x8, 1.0), score)))
            v.store(scores + 4 * e, p)
            total += p
        return total

    return biased_router(v, sigmoids)


# Of equal scores the expert with the lower number is chosen. A NaN among the scores makes the token's weights NaN.
sigmoid_router = Kernel("sigmoid_router", Arguments._fields, _build, pieces="tokens")
