"""Top-k routing: which experts process a token, and with what weights. Shazeer et al. 2017, arXiv 1701.06538."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..quant.jit.kernel import Kernel
from ..quant.simd.instruction_set import InstructionSet
from .exp import exp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Arguments(NamedTuple):
    """`weights` of the chosen experts sum to `factor` (a float) if `normalize_weights` is not 0."""

    tokens: int  # address of their number
    scores: int  # (tokens, experts) float32; overwritten
    chosen: int  # (tokens, used) int64: expert numbers, best first
    weights: int  # (tokens, used) float32
    experts: int
    used: int
    normalize_weights: int
    factor: int


def topk_router_reference(
    scores: NDArray[np.float64], used: int, normalize_weights: bool, factor: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """scores (tokens, experts) -> chosen experts (tokens, used), best first, and their weights (tokens, used).

    The weights are the softmax over all experts, divided by their sum over the chosen ones if `normalize_weights`,
    times `factor`.
    """
    import numpy as np

    chosen = np.argsort(-scores, axis=1, kind="stable")[:, :used]
    weights = np.exp(scores - scores.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    weights = np.take_along_axis(weights, chosen, 1)
    return chosen, factor * (weights / weights.sum(1, keepdims=True) if normalize_weights else weights)


def _build(v: InstructionSet) -> Any:
    power, lane = exp(v, v.f32x8, v.i32x8), v.slice_of(0, 1)

    @v.jitable
    def exp_of(x):
        return v.reduce_add(lane(power(v.splat(v.f32x8, x))))

    @v.jitable
    def route_token(a, t):
        scores, chosen, weights = a.scores + 4 * a.experts * t, a.chosen + 8 * a.used * t, a.weights + 4 * a.used * t
        top = v.load_f32(scores)
        for e in range(a.experts):
            top = max(top, v.load_f32(scores + 4 * e))
        total, chosen_total = v.float32(0), v.float32(0)
        for e in range(a.experts):
            total += exp_of(v.load_f32(scores + 4 * e) - top)
        for j in range(a.used):
            best, best_score = j, v.float32(-3.3e38)
            for e in range(a.experts):
                score = v.load_f32(scores + 4 * e)
                if score > best_score:
                    best, best_score = e, score
            weight = exp_of(v.load_f32(scores + 4 * best) - top)
            v.store(scores + 4 * best, v.float32(-3.4e38))
            v.store(chosen + 8 * j, best)
            v.store(weights + 4 * j, weight)
            chosen_total += weight
        divisor = chosen_total + (total - total) if a.normalize_weights != 0 else total  # NaN stays NaN
        factor = v.as_f32(a.factor) / divisor
        for j in range(a.used):
            v.store(weights + 4 * j, v.load_f32(weights + 4 * j) * factor)

    return each_token(v, Arguments, route_token)


def each_token(v: InstructionSet, arguments: type[NamedTuple], body: Any) -> Any:
    """A kernel's body: `body(arguments, t)` for each token t; the arguments have a field `tokens`."""

    def run(counter, ith, nth, *fields):
        a = arguments(*fields)
        count, t = v.load_i64(a.tokens), v.take_work(counter, 1)
        while t < count:
            body(a, t)
            t = v.take_work(counter, 1)

    return run


# Of equal scores the expert with the lower number is chosen. A NaN among the scores makes the token's weights NaN.
topk_router = Kernel("topk_router", Arguments._fields, _build, pieces="tokens")
