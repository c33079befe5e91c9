"""Routing of SparseMixer-v2 at inference: the best experts, each weighted among those with nearly its score. Liu et al.
2024, arXiv 2409.12136."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..quant.jit.kernel import Kernel
from ..quant.simd.instruction_set import InstructionSet
from .exp import exp
from .topk_router import each_token

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Arguments(NamedTuple):
    """`band`, a float, is how far below the best score a score may lie, as a part of it."""

    tokens: int  # address of their number
    scores: int  # (tokens, experts) float32; overwritten
    chosen: int  # (tokens, used) int64: expert numbers, best first
    weights: int  # (tokens, used) float32
    experts: int
    used: int
    band: int


def sparse_mixer_reference(
    scores: NDArray[np.float64], used: int, band: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """scores (tokens, experts) -> chosen experts (tokens, used), best first, and their weights (tokens, used).

    Each weight is the softmax over the experts that are not chosen yet and lie within `band`: best - score is at most
    band * max(|score|, best). Weights do not sum to 1.
    """
    import numpy as np

    left, chosen, weights = scores.copy(), [], []
    for _ in range(used):
        best = left.argmax(1)[:, None]
        top = np.take_along_axis(left, best, 1)
        near = np.isfinite(left) & (top - scores <= band * np.maximum(np.abs(scores), top))
        weights.append(1 / np.where(near, np.exp(np.minimum(scores - top, 0)), 0).sum(1))
        chosen.append(best[:, 0])
        np.put_along_axis(left, best, -np.inf, 1)
    return np.stack(chosen, 1), np.stack(weights, 1)


def _build(v: InstructionSet) -> Any:
    power, lane = exp(v, v.f32x8, v.i32x8), v.slice_of(0, 1)

    @v.jitable
    def route_token(a, t):
        scores, chosen, weights = a.scores + 4 * a.experts * t, a.chosen + 8 * a.used * t, a.weights + 4 * a.used * t
        band, seen = v.as_f32(a.band), v.float32(0)
        for e in range(a.experts):
            seen += v.load_f32(scores + 4 * e)
        nothing = (seen - seen) * v.float32(0)  # NaN stays NaN
        for j in range(a.used):
            best, top = j, v.float32(-3.3e38)
            for e in range(a.experts):
                score = v.load_f32(scores + 4 * e)
                if score > top:
                    best, top = e, score
            total = nothing
            for e in range(a.experts):
                score = v.load_f32(scores + 4 * e)
                if top - score <= band * max(abs(score), top):
                    total += v.reduce_add(lane(power(v.splat(v.f32x8, score - top))))
            v.store(scores + 4 * best, v.float32(-3.4e38))
            v.store(chosen + 8 * j, best)
            v.store(weights + 4 * j, v.float32(1) / total)

    return each_token(v, Arguments, route_token)


# Of equal scores the expert with the lower number is chosen. A NaN among the scores makes the token's weights NaN.
sparse_mixer = Kernel("sparse_mixer", Arguments._fields, _build, pieces="tokens")
