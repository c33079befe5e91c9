"""The search behind formats without minima: x ~ scale * level of q, levels around zero, the scale of either sign.

Each group tries several levels for its value of largest magnitude; for the levels of a trial the best scale is that of
weighted least squares, and it lowers the error by sum(wxl)^2 / sum(wll). Scales become whole multiples of a
float16 factor d; then, in turn, levels, multiples and d are chosen anew, the others held fixed. The layout in bytes is
each format's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..simd.instruction_set import InstructionSet
from .search import (
    COLUMNS,
    FIT,
    FLOAT16_D,
    FLOOR,
    INVERSE,
    SCALE,
    SCALE_BYTES,
    STEP,
    SUM_QQ,
    SUM_XQ,
    WEIGHTS,
    Shape,
    Steps,
    alternate,
    float16_rounding,
    kept_bytes,
    over_block,
    powers,
    weighted,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Bytes = NDArray[np.uint8]

MARGIN = 1 + 1e-6  # a later trial is better only by more than rounding: mirrored levels often are as good
INFINITE = 3.4e38  # a factor that overflows as float16 stays infinite, and the caller is told
Trials = tuple[tuple[float, float, int], ...]


@dataclass(frozen=True, slots=True)
class Symmetric:
    """`groups` groups of `group` values; the values of q are `levels`, rising; scales are min_scale..max_scale times d.

    `even`: how much a group's mean square adds to the weight of a value, which is else its square. `trials`: runs
    (first, step, count) of the levels that the value of largest magnitude is given; `rounds`: of choosing anew;
    `floor`: see `search.FLOOR`.
    """

    group: int
    levels: Sequence[int]
    trials: Trials
    groups: int = 1
    min_scale: int = 1
    max_scale: int = 1
    even: float = 1.0
    floor: float = FLOOR
    rounds: int = 2

    def with_more_effort(self) -> Symmetric:
        """The search of more effort."""
        finer = tuple((first, step / 3, 3 * count - 2) for first, step, count in self.trials)
        return replace(self, trials=finer, rounds=4 * self.rounds)

    @property
    def counts(self) -> bool:
        """Whether levels are all whole numbers of a range, so that the nearest one is found by rounding."""
        return list(self.levels) == list(range(self.levels[0], self.levels[-1] + 1))


class SymmetricBlocks(NamedTuple):
    """What n blocks are stored as.

    d (n,), float32 of float16 precision; its multiples (n, groups) int8; the numbers of the levels (n, block) uint8.
    """

    d: Floats
    scale: NDArray[np.int8]
    q: Bytes


# ---- the reference, in NumPy --------------------------------------------------------------------------------------


def symmetric(x: Floats, importance: Floats | None, search: Symmetric) -> SymmetricBlocks:
    """Blocks (n, block) float32, their importance likewise -> how they are stored."""
    import numpy as np

    n, groups = len(x), search.groups
    unit, shrink = powers(x)
    values, weights = weighted(x * shrink, importance, search.group, search.even, search.floor)
    table = np.array(search.levels, np.float32)

    def number(t: Floats) -> NDArray[np.intp]:
        return np.searchsorted((table[1:] + table[:-1]) / 2, t, side="right")

    def nearest(t: Floats) -> Floats:
        return np.rint(t).clip(table[0], table[-1]) if search.counts else table[number(t)]

    def rounded(d: Floats) -> Floats:
        return (d * unit).astype(np.float16).astype(np.float32) * shrink

    def multiple(ideal: Floats, d: Floats, before: Floats) -> Floats:
        whole = np.rint((ideal / d).clip(search.min_scale, search.max_scale))
        return np.where(np.abs(d) > 0, whole, before)

    def inverse() -> Floats:
        step = (d * scale).reshape(-1)
        return np.where(np.abs(step) > 0, 1 / step, np.float32(0))

    fit = _fit(values, weights, search.trials, nearest).reshape(n, groups)
    largest = np.take_along_axis(fit, np.abs(fit).argmax(axis=1, keepdims=True), axis=1)
    d = rounded(largest * np.float32(1 / search.min_scale))
    scale = multiple(fit, d, np.zeros_like(fit))
    for _ in range(search.rounds):
        q = nearest(values * inverse())
        wq = weights * q
        sqq, sxq = ((wq * a).sum(axis=0).reshape(n, groups) for a in (q, values))
        scale = multiple(sxq, d * sqq, scale)
        a, u = (scale * scale * sqq).sum(axis=1, keepdims=True), (scale * sxq).sum(axis=1, keepdims=True)
        d = rounded(np.where((a > 0) & np.isfinite(d), u / a, d))
    t = values * inverse()
    numbers = np.rint(t).clip(table[0], table[-1]) - table[0] if search.counts else number(t)
    return SymmetricBlocks(d[:, 0] * unit[:, 0], scale.astype(np.int8), numbers.T.reshape(n, -1).astype(np.uint8))


def _fit(x: Floats, w: Floats, trials: Trials, nearest: Any) -> Floats:
    """The scale of each group, (group, n) -> (n,): of all trials that of least error."""
    import numpy as np

    wx = w * x
    extreme = np.take_along_axis(x, np.abs(x).argmax(axis=0, keepdims=True), axis=0)[0]
    best, scale = np.zeros((2, x.shape[1]), np.float32)
    for first, step, count in trials:
        for i in range(count):
            q = nearest(x * (np.float32(first + step * i) / extreme))
            sxq, sqq = (wx * q).sum(axis=0), (w * q * q).sum(axis=0)
            better = sxq * sxq > best * sqq * np.float32(MARGIN)
            scale = np.where(better, sxq / sqq, scale)
            best = np.where(better, scale * sxq, best)
    return scale


# ---- the same in SIMD ---------------------------------------------------------------------------------------------


def plain_weight(v: InstructionSet, search: Symmetric) -> Any:
    """`(x, mean square of the group)` -> weights."""
    even = search.even
    return v.jitable(lambda x, square: x * x + square * even)


def nearest(v: InstructionSet, kind: Any, search: Symmetric) -> Any:
    """`t -> the level nearest to t`, in lanes of `kind`."""
    low, high = search.levels[0], search.levels[-1]
    if search.counts:
        return v.jitable(lambda t: v.minimum(v.maximum(v.round_even(t), v.splat(kind, low)), v.splat(kind, high)))
    return stairs(v, kind, search.levels)


def number(v: InstructionSet, kind: Any, search: Symmetric) -> Any:
    """`t -> the number of the level nearest to t`, from 0."""
    low, level = search.levels[0], nearest(v, kind, search)
    if search.counts:
        return v.jitable(lambda t: level(t) - low)
    return stairs(v, kind, search.levels, range(len(search.levels)))


def stairs(v: InstructionSet, kind: Any, levels: Sequence[int], results: Sequence[int] | None = None) -> Any:
    """`t -> the level nearest to t`, or its counterpart in `results`: it rises at each middle between two levels."""
    heights = levels if results is None else results
    start = heights[0]

    def stair(i: int) -> Any:
        middle, rise = (levels[i] + levels[i + 1]) / 2, heights[i + 1] - heights[i]
        return v.jitable(lambda y, t: y + v.select_gt(v.splat(kind, middle), t, v.zero(kind), v.splat(kind, rise)))

    climb = v.fold_parts([stair(i) for i in range(len(levels) - 1)])
    return v.jitable(lambda t: climb(v.splat(kind, start), t))


def find(v: InstructionSet, shape: Shape, search: Symmetric) -> Any:
    """`(scratch)`: from columns and weights to d, multiples, and what turns values into levels."""
    steps = Steps(
        _fit_lanes(v, shape, search), _start(v, shape, search), _sum_lanes(v, shape, search), _improve(v, shape, search)
    )
    return alternate(v, shape, search.rounds, steps)


def _trial(v: InstructionSet, search: Symmetric) -> Any:
    """`(xs, inverse)` -> sums of squared levels, and of values times levels, both weighted."""
    f32, group, vector, level = v.f32, search.group, 4 * v.LANES, nearest(v, v.f32, search)

    def trial(xs, inverse):
        sqq, sxq = v.zero(f32), v.zero(f32)
        for i in range(group):
            x, w = v.load(f32, xs + vector * i), v.load(f32, xs + (WEIGHTS - COLUMNS) + vector * i)
            q = level(x * inverse)
            wq = w * q
            sqq, sxq = sqq + wq * q, sxq + wq * x
        return sqq, sxq

    return v.jitable(trial)


def _fit_lanes(v: InstructionSet, shape: Shape, search: Symmetric) -> Any:
    f32, group, vector, trial = v.f32, search.group, 4 * v.LANES, _trial(v, search)

    def run_of(first: float, step: float, count: int) -> Any:
        def run(state, xs, extreme):
            best, scale = state
            for i in range(count):
                sqq, sxq = trial(xs, v.splat(f32, first + step * i) / extreme)
                left, right = sxq * sxq, best * sqq * MARGIN
                scale = v.select_gt(left, right, sxq / sqq, scale)
                best = v.select_gt(left, right, scale * sxq, best)
            return best, scale

        return v.jitable(run)

    runs = v.fold_parts([run_of(*run) for run in search.trials])

    def fit(scratch, part):
        xs = scratch + COLUMNS + vector * group * part
        extreme = v.zero(f32)
        for i in range(group):
            x = v.load(f32, xs + vector * i)
            extreme = v.select_gt(v.absolute(x), v.absolute(extreme), x, extreme)
        _, scale = runs((v.zero(f32), v.zero(f32)), xs, extreme)
        v.store(scratch + FIT + vector * part, scale)

    return v.jitable(fit)


def _sum_lanes(v: InstructionSet, shape: Shape, search: Symmetric) -> Any:
    """`(scratch, part)`: sums of the levels that the present scales give."""
    f32, group, vector, trial = v.f32, search.group, 4 * v.LANES, _trial(v, search)

    def sums(scratch, part):
        at = scratch + vector * part
        sqq, sxq = trial(scratch + COLUMNS + vector * group * part, v.load(f32, at + INVERSE))
        v.store(at + SUM_QQ, sqq)
        v.store(at + SUM_XQ, sxq)

    return v.jitable(sums)


def _settle(v: InstructionSet, shape: Shape, search: Symmetric) -> tuple[Any, Any]:
    """`(ideal, d, before)`: the multiple of d nearest to `ideal`; `(scratch, at, d, scale)`: keep them."""
    wide, keep, least, most = v.Vec("f32", shape.wide), kept_bytes(v, shape), search.min_scale, search.max_scale

    @v.jitable
    def multiple(ideal, d, before):
        whole = v.round_even(v.minimum(v.maximum(ideal / d, v.splat(wide, least)), v.splat(wide, most)))
        return v.select_gt(v.absolute(d), v.zero(wide), whole, before)

    def settle(scratch, at, d, scale):
        p, step, zero = scratch + 4 * at, d * scale, v.zero(wide)
        v.store(p + STEP, d)
        v.store(p + SCALE, scale)
        v.store(p + INVERSE, v.select_gt(v.absolute(step), zero, v.splat(wide, 1) / step, zero))
        keep(scale, scratch + SCALE_BYTES + at)

    return multiple, v.jitable(settle)


def _start(v: InstructionSet, shape: Shape, search: Symmetric) -> Any:
    wide, rounded, (multiple, settle) = v.Vec("f32", shape.wide), float16_rounding(v, shape), _settle(v, shape, search)
    part = 1 / search.min_scale

    @v.jitable
    def widest(x):
        """The lane of largest magnitude, with its sign, in all lanes."""
        high, low = v.reduce_max(x), v.reduce_max(v.zero(wide) - x)
        return v.splat(wide, high if high >= low else -low)

    most = widest if shape.groups > 1 else v.jitable(lambda x: x)

    def start(scratch, at):
        fit = v.load(wide, scratch + FIT + 4 * at)
        d = rounded(most(fit) * part, scratch, at, FLOAT16_D)
        settle(scratch, at, d, multiple(fit, d, v.zero(wide)))

    return v.jitable(start)


def _improve(v: InstructionSet, shape: Shape, search: Symmetric) -> Any:
    """`(scratch, at)`: multiples, then d, that suit the levels best."""
    wide, rounded, (multiple, settle) = v.Vec("f32", shape.wide), float16_rounding(v, shape), _settle(v, shape, search)
    total = over_block(v, shape)

    def improve(scratch, at):
        p, zero = scratch + 4 * at, v.zero(wide)
        d, scale = v.load(wide, p + STEP), v.load(wide, p + SCALE)
        sqq, sxq = v.load(wide, p + SUM_QQ), v.load(wide, p + SUM_XQ)
        scale = multiple(sxq, d * sqq, scale)
        a, u = total(scale * scale * sqq), total(scale * sxq)
        d = v.select_gt(a, zero, v.select_gt(v.splat(wide, INFINITE), v.absolute(d), u / a, d), d)
        settle(scratch, at, rounded(d, scratch, at, FLOAT16_D), scale)

    return v.jitable(improve)
