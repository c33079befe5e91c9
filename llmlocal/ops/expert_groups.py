"""Routing within groups of experts: only experts of a token's best groups may be chosen. arXiv 2405.04434, 2.2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def best_groups_reference(scores: NDArray[np.float64], groups: int, used: int, best: int) -> NDArray[np.bool_]:
    """scores (tokens, experts) of `groups` equal groups -> whether each expert may be chosen, (tokens, experts).

    A group's score is the sum of its `best` (1 or 2) greatest scores; experts of the `used` best groups are left.
    """
    import numpy as np

    grouped = np.sort(scores.reshape(len(scores), groups, -1), axis=-1)[..., -best:].sum(-1)
    rank = np.argsort(np.argsort(-grouped, axis=-1, kind="stable"), axis=-1, kind="stable")
    return np.repeat(rank < used, scores.shape[1] // groups, axis=1)


def leave_best_groups(v: InstructionSet) -> Any:
    """`(a, scores)`: make the scores (experts,) float32 of experts in all but the best groups -3.4e38.

    `a` has the fields experts, groups, groups_used, group_best, and bias (experts,), which is added for the choice.
    """

    @v.jitable
    def group_score(a, scores, g, size):
        first, second = v.float32(-3.4e38), v.float32(-3.4e38)
        for e in range(size * g, size * (g + 1)):
            score = v.load_f32(scores + 4 * e) + v.load_f32(a.bias + 4 * e)
            if score > first:
                first, second = score, first
            elif score > second:
                second = score
        if a.group_best < 2 or size < 2:
            second = v.float32(0)
        return first + second

    def run(a, scores):
        size = a.experts // a.groups
        for _ in range(a.groups - a.groups_used):  # the worst group that is left
            worst, worst_score = 0, v.float32(3.4e38)
            for g in range(a.groups):
                score = group_score(a, scores, g, size)
                if score > v.float32(-3.3e38) and score <= worst_score:
                    worst, worst_score = g, score
            for e in range(size * worst, size * (worst + 1)):
                v.store(scores + 4 * e, v.float32(-3.4e38))

    return v.jitable(run)
