"""Which of many logits may be among the best k, and whether all are finite, by one pass over them.

The pass takes the best of each chunk. What at least k of those reach is reached by the k best, so only the chunks that
come up to it are looked through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..quant.jit.kernel import Kernel
from ..quant.simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK, LANES = 64, 8  # logits
FARTHEST = 1024.0  # from the best logit to the bound: where it would be farther, there is none
HALVINGS = 6  # of the interval in which the bound is sought
MOST_DROPPED = 64  # candidates beyond k that are dropped one by one; of equal logits there may be any number
INFINITY = 0x7F800000  # the bits of a float32


class Arguments(NamedTuple):
    """`found` becomes the number of candidates, or -1 - i where logit i is the first that is NaN or infinite.

    Logits of -inf are allowed, and are no candidates.
    """

    logits: int  # (n,) float32
    n: int
    k: int
    ids: int  # (n,) int64: the candidates, ascending
    values: int  # (n,) float32: their logits
    tops: int  # (tops_size(n),) float32 of scratch
    found: int  # address of an int64


def tops_size(n: int) -> int:
    """How many float32 of scratch the kernel needs for `n` logits."""
    return (n // CHUNK + LANES - 1) // LANES * LANES


def top_candidates_reference(logits: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Ascending ids of the `k` best of logits (n,), -inf aside, of equal ones the lower ids.

    The kernel finds these and, where many are equal, more.
    """
    import numpy as np

    order = np.argsort(-logits.astype(np.float64), kind="stable")[:k]
    return np.sort(order[logits[order] > -np.inf])


def _build(v: InstructionSet) -> Any:
    take_tops, bound_of, best_of = _tops(v), _bound(v), _best(v)

    @v.jitable
    def look_through(a, start, end, bound, count):
        """Append the candidates among logits start .. end - 1; each is stored, and stays if it is one."""
        for i in range(start, end):
            x = v.load_f32(a.logits + 4 * i)
            v.store(a.ids + 8 * count, i)
            v.store(a.values + 4 * count, x)
            count += 1 if x >= bound and x > -v.as_f32(INFINITY) else 0
        return count

    @v.jitable
    def first_bad(a):
        for i in range(a.n):
            x = v.load_f32(a.logits + 4 * i)
            if x != x or x == v.as_f32(INFINITY):
                return -1 - i
        return 0

    @v.jitable
    def find(a):
        whole, bound, count = a.n // CHUNK, bound_of(a), 0
        for i in range(whole):
            if v.load_f32(a.tops + 4 * i) >= bound:
                count = look_through(a, CHUNK * i, CHUNK * i + CHUNK, bound, count)
        count = look_through(a, CHUNK * whole, a.n, bound, count)
        return best_of(a, count) if count - a.k <= MOST_DROPPED else count

    def run(counter, ith, nth, *fields):
        a = Arguments(*fields)
        bad = first_bad(a) if take_tops(a) > v.float32(0) else 0
        v.store(a.found, bad if bad != 0 else find(a))

    return run


def _tops(v: InstructionSet) -> Any:
    """`(a)`: the best logit of each chunk; more than 0 if any logit is not finite, -inf aside."""

    @v.jitable
    def run(a):
        kind, whole = v.f32x8, a.n // CHUNK
        none, one, endless = v.zero(kind), v.splat(kind, v.float32(1)), v.splat(kind, v.as_f32(INFINITY))
        bad = none
        for i in range(whole):
            p = a.logits + 4 * CHUNK * i
            best = v.load(kind, p)
            for j in range(0, CHUNK, LANES):
                x = v.load(kind, p + 4 * j)
                bad = v.maximum(v.select_gt(endless, x, none, one), bad)
                best = v.maximum(best, x)
            v.store(a.tops + 4 * i, v.reduce_max(best))
        for i in range(whole, (whole + LANES - 1) // LANES * LANES):
            v.store(a.tops + 4 * i, -v.as_f32(INFINITY))
        wrong = v.reduce_add(bad)
        for i in range(CHUNK * whole, a.n):
            x = v.load_f32(a.logits + 4 * i)
            if x != x or x == v.as_f32(INFINITY):
                wrong += v.float32(1)
        return wrong

    return run


def _bound(v: InstructionSet) -> Any:
    """`(a)`: what at least k logits reach, and few more; -inf where fewer chunks come near the best."""

    @v.jitable
    def reached(a, bound):
        kind, least = v.f32x8, v.splat(v.f32x8, bound)
        none, one, counts = v.zero(kind), v.splat(kind, v.float32(1)), v.zero(kind)
        for i in range(0, a.n // CHUNK, LANES):
            counts = counts + v.select_gt(least, v.load(kind, a.tops + 4 * i), none, one)
        return v.reduce_add(counts)

    @v.jitable
    def run(a):
        best, wanted = -v.as_f32(INFINITY), v.float32(a.k)
        for i in range(a.n // CHUNK):
            best = max(best, v.load_f32(a.tops + 4 * i))
        far, half = v.float32(1), v.float32(0.5)
        while far < v.float32(FARTHEST) and reached(a, best - far) < wanted:
            far += far
        if reached(a, best - far) < wanted:
            return -v.as_f32(INFINITY)
        near = v.float32(0)
        for _ in range(HALVINGS):
            middle = (near + far) * half
            enough = reached(a, best - middle) >= wanted
            near, far = near if enough else middle, middle if enough else far
        return best - far

    return run


def _best(v: InstructionSet) -> Any:
    """`(a, count)`: drop the worst of `count` candidates, of equal ones the last, until k are left; their number."""

    @v.jitable
    def run(a, count):
        while count > a.k:
            least, worst = v.load_f32(a.values), 0
            for i in range(1, count):
                x = v.load_f32(a.values + 4 * i)
                worst = i if x <= least else worst
                least = x if x <= least else least
            count -= 1
            for i in range(worst, count):
                v.store(a.values + 4 * i, v.load_f32(a.values + 4 * (i + 1)))
                v.store(a.ids + 8 * i, v.load_i64(a.ids + 8 * (i + 1)))
        return count

    return run


# One thread runs it, between two runs of a program.
top_candidates = Kernel("top_candidates", Arguments._fields, _build)
