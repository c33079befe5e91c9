"""Which experts read a token, with what weight, and the order in which a batch is grouped by expert.

Shazeer et al. 2017, arXiv 1701.06538. A token chooses `used` of `experts`; each choice is a pair, and pairs are sorted
by expert, within one by token: every expert's rows are then neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet
from .exp import exp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP = 24  # bytes of a group: int64 expert, first pair, number of pairs


def groups_bytes(experts: int) -> int:
    """Bytes of `groups`: how many experts were chosen, their groups, and room to count in."""
    return 8 + (GROUP + 8) * experts


def route_meaning(
    scores: NDArray[np.float64], used: int, renormed: bool, factor: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """scores (tokens, experts) -> experts (tokens, used), best first, and their weights: softmax of all the scores,
    brought to a sum of 1 over the chosen where `renormed`, times `factor`."""
    import numpy as np

    chosen = np.argsort(-scores, axis=1, kind="stable")[:, :used]
    weights = np.exp(scores - scores.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    weights = np.take_along_axis(weights, chosen, 1)
    return chosen, factor * (weights / weights.sum(1, keepdims=True) if renormed else weights)


@kernel("tokens scores chosen weights experts used renormed factor")
def route(v: InstructionSet) -> Any:
    """chosen (tokens, used) int64 and weights (tokens, used) float32 from scores (tokens, experts) float32.

    The scores are used up. Of equal ones the first expert is taken; a score that is no number makes the weights so.
    """
    power, lane = exp(v, v.f32x8, v.i32x8), v.slice_of(0, 1)

    @v.jitable
    def power_of(x):
        return v.reduce_add(lane(power(v.splat(v.f32x8, x))))

    @v.jitable
    def one_token(scores, chosen, weights, experts, used, renormed, factor):
        top = v.load_f32(scores)
        for e in range(experts):
            top = max(top, v.load_f32(scores + 4 * e))
        total, taken = v.float32(0), v.float32(0)
        for e in range(experts):
            total += power_of(v.load_f32(scores + 4 * e) - top)
        for j in range(used):
            best, peak = j, v.float32(-3.3e38)
            for e in range(experts):
                score = v.load_f32(scores + 4 * e)
                if score > peak:
                    best, peak = e, score
            weight = power_of(v.load_f32(scores + 4 * best) - top)
            v.store(scores + 4 * best, v.float32(-3.4e38))
            v.store(chosen + 8 * j, best)
            v.store(weights + 4 * j, weight)
            taken += weight
        factor = factor / (taken + (total - total) if renormed != 0 else total)  # NaN stays NaN
        for j in range(used):
            v.store(weights + 4 * j, v.load_f32(weights + 4 * j) * factor)

    def run(counter, ith, nth, tokens, scores, chosen, weights, experts, used, renormed, factor):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            at = used * t
            row = scores + 4 * experts * t
            one_token(row, chosen + 8 * at, weights + 4 * at, experts, used, renormed, v.as_f32(factor))
            t = v.take_work(counter, 1)

    return run


@kernel("tokens chosen groups source owner place experts used")
def group(v: InstructionSet) -> Any:
    """Sort the pairs of chosen (tokens, used) by expert, in one thread.

    `groups`: int64, the number of experts that were chosen, then of each its number, first pair and number of pairs.
    Of each sorted pair (tokens * used,) int64: `source`, its token, and `owner`, its expert; `place` (tokens, used) is
    where a pair went.
    """

    @v.jitable
    def count_and_list(chosen, pairs, groups, cursors, experts):
        for e in range(experts):
            v.store(cursors + 8 * e, 0)
        for p in range(pairs):
            at = cursors + 8 * v.load_i64(chosen + 8 * p)
            v.store(at, v.load_i64(at) + 1)
        start, used_experts = 0, 0
        for e in range(experts):
            n = v.load_i64(cursors + 8 * e)
            v.store(cursors + 8 * e, start)
            if n > 0:
                at = groups + 8 + GROUP * used_experts
                v.store(at, e)
                v.store(at + 8, start)
                v.store(at + 16, n)
                used_experts += 1
            start += n
        v.store(groups, used_experts)

    def run(counter, ith, nth, tokens, chosen, groups, source, owner, place, experts, used):
        if v.take_work(counter, 1) > 0:
            return
        pairs, cursors = v.load_i64(tokens) * used, groups + 8 + GROUP * experts
        count_and_list(chosen, pairs, groups, cursors, experts)
        for p in range(pairs):
            e = v.load_i64(chosen + 8 * p)
            at = v.load_i64(cursors + 8 * e)
            v.store(cursors + 8 * e, at + 1)
            v.store(source + 8 * at, p // used)
            v.store(owner + 8 * at, e)
            v.store(place + 8 * p, at)

    return run


def mix_meaning(x: NDArray[np.float64], place: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """x (pairs, width), place and weights (tokens, used) -> (tokens, width): the weighted sum of each token's pairs."""
    import numpy as np

    mixed: NDArray[np.float64] = np.einsum("tu,tuw->tw", weights, x[place])
    return mixed


@kernel("tokens x place weights out width used")
def mix(v: InstructionSet) -> Any:
    """out (tokens, width) = sums of x (pairs, width) at `place` times `weights`, float32, in the order of choice."""
    f32x8 = v.f32x8

    def run(counter, ith, nth, tokens, x, place, weights, out, width, used):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            pairs, whole = used * t, width // 8 * 8
            for j in range(used):
                weight = v.load_f32(weights + 4 * (pairs + j))
                row, target = x + 4 * width * v.load_i64(place + 8 * (pairs + j)), out + 4 * width * t
                for i in range(0, whole, 8):
                    before = v.load(f32x8, target + 4 * i) if j > 0 else v.zero(f32x8)
                    v.store(target + 4 * i, v.fma(v.load(f32x8, row + 4 * i), v.splat(f32x8, weight), before))
                for i in range(whole, width):
                    before_one = v.load_f32(target + 4 * i) if j > 0 else v.float32(0)
                    v.store(target + 4 * i, before_one + v.load_f32(row + 4 * i) * weight)
            t = v.take_work(counter, 1)

    return run


@kernel("pairs x owner bias width")
def add_own_bias(v: InstructionSet) -> Any:
    """x (pairs, width) += bias (experts, width) at `owner` (pairs,) int64, float32."""
    f32x8 = v.f32x8

    def run(counter, ith, nth, pairs, x, owner, bias, width):
        count, p = v.load_i64(pairs), v.take_work(counter, 1)
        while p < count:
            row, own = x + 4 * width * p, bias + 4 * width * v.load_i64(owner + 8 * p)
            for i in range(0, width - 7, 8):
                v.store(row + 4 * i, v.load(f32x8, row + 4 * i) + v.load(f32x8, own + 4 * i))
            for i in range(width // 8 * 8, width):
                v.store(row + 4 * i, v.load_f32(row + 4 * i) + v.load_f32(own + 4 * i))
            p = v.take_work(counter, 1)

    return run
