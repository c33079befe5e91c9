"""The search behind formats with minima: x ~ scale * q - low in every group, q in 0..max_level, low not negative.

Each group tries several spreads of its levels; for the integers q of a trial the best scale and minimum are those of
weighted least squares. Scales and minima become whole multiples of two float16 factors, d and dmin; then q, the
multiples and the factors are chosen anew in turn, the others held fixed, which never raises the error. The layout in
bytes is each format's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..simd.instruction_set import InstructionSet
from .search import (
    COLUMNS,
    FIT,
    FIT_MIN,
    FLOAT16_D,
    FLOAT16_DMIN,
    FLOOR,
    INVERSE,
    LOW,
    MIN,
    MIN_BYTES,
    OFFSET,
    SCALE,
    SCALE_BYTES,
    SINGULAR,
    STEP,
    SUM_Q,
    SUM_QQ,
    SUM_W,
    SUM_X,
    SUM_XQ,
    WEIGHTS,
    Shape,
    Steps,
    alternate,
    columns_of,
    float16_rounding,
    important,
    kept_bytes,
    over_block,
    powers,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Affine:
    """`groups` groups of `group` values, q in 0..max_level; scales and minima are 0..max_scale times d and dmin.

    `even`: how much a group's root mean square adds to the weight of a value, which is else its magnitude. Trials
    spread max_level + `first`, + `first` + `step`, ... levels over the group's range; `rounds`: of choosing anew;
    `floor`: see `search.FLOOR`.
    """

    group: int
    max_level: int
    groups: int = 1
    max_scale: int = 1
    even: float = 1.3
    first: float = -1.2
    step: float = 0.1
    trials: int = 25
    rounds: int = 2
    floor: float = FLOOR

    def with_more_effort(self) -> Affine:
        """The search of more effort."""
        return replace(
            self, first=1.5 * self.first, step=self.step / 2, trials=3 * self.trials - 2, rounds=4 * self.rounds
        )


class AffineBlocks(NamedTuple):
    """What n blocks are stored as.

    d and dmin (n,), float32 of float16 precision; their multiples (n, groups) and the levels (n, block), uint8.
    """

    d: Floats
    dmin: Floats
    scale: Bytes
    low: Bytes
    q: Bytes


# ---- the reference, in NumPy --------------------------------------------------------------------------------------


def affine(x: Floats, importance: Floats | None, search: Affine) -> AffineBlocks:
    """Blocks (n, block) float32, their importance likewise -> how they are stored."""
    import numpy as np

    n, groups, most = len(x), search.groups, np.float32(search.max_scale)
    unit, shrink = powers(x)
    values = columns_of(x * shrink, search.group)
    if importance is None:
        weights = np.abs(values) + np.float32(search.even) * np.sqrt((values * values).mean(axis=0))
    else:
        weights = important(values, columns_of(importance, search.group), search.floor)
    fit, low = (a.reshape(n, groups) for a in _fit(values, weights, search))
    sums = [s.reshape(n, groups) for s in (weights.sum(axis=0), (weights * values).sum(axis=0))]

    def rounded(d: Floats) -> Floats:
        return (d * unit).astype(np.float16).astype(np.float32) * shrink

    def multiple(ideal: Floats, d: Floats, before: Floats | None = None) -> Floats:
        whole = np.rint((ideal / d).clip(0, most))
        return np.where(d > 0, whole, np.float32(0) if before is None else before)

    def levels() -> Floats:
        step = (d * scale).reshape(-1)
        inverse = np.where(step > 0, 1 / step, np.float32(0))
        q: Floats = np.rint((values + (dmin * lows).reshape(-1)) * inverse).clip(0, search.max_level)
        return q

    d, dmin = (rounded(a.max(axis=1, keepdims=True) * (1 / most)) for a in (fit, low))
    scale, lows = multiple(fit, d), multiple(low, dmin)
    for _ in range(search.rounds):
        q = levels()
        wq = weights * q
        qs = [s.reshape(n, groups) for s in (wq.sum(axis=0), (wq * q).sum(axis=0), (wq * values).sum(axis=0))]
        lows = multiple(d * scale * qs[0] - sums[1], sums[0] * dmin, lows)
        scale = multiple(qs[2] + dmin * lows * qs[0], d * qs[1], scale)
        d, dmin = (rounded(a) for a in _factors(d, dmin, scale, lows, *sums, *qs))
    q = levels().T.reshape(n, -1)
    d, dmin = (a[:, 0] * unit[:, 0] for a in (d, dmin))
    return AffineBlocks(d, dmin, scale.astype(np.uint8), lows.astype(np.uint8), q.astype(np.uint8))


def _fit(x: Floats, w: Floats, search: Affine) -> tuple[Floats, Floats]:
    """Scale and minimum of each group, (group, n) -> (n,) both: of all trials those of least error.

    At the least squares of a trial the error is sum(wxx) - (scale * sum(wxq) - low * sum(wx)).
    """
    import numpy as np

    bottom = np.minimum(x.min(axis=0), 0)
    span = x.max(axis=0) - bottom
    sw, sx = w.sum(axis=0), (w * x).sum(axis=0)
    scale, low, best = span * np.float32(1 / search.max_level), bottom, np.full_like(span, -np.inf)
    for trial in range(search.trials):
        per = np.float32(search.max_level + search.first + search.step * trial) / span
        q = np.rint((x - bottom) * per).clip(0, search.max_level)
        wq = w * q
        sq, sqq, sxq = wq.sum(axis=0), (wq * q).sum(axis=0), (wq * x).sum(axis=0)
        det = sw * sqq - sq * sq
        regular = (det > SINGULAR * sw * sqq) & ((sqq * sx - sq * sxq) < 0)
        step = np.where(regular, (sw * sxq - sx * sq) / det, sxq / sqq)
        shift = np.where(regular, (sqq * sx - sq * sxq) / det, np.float32(0))
        gain = step * sxq + shift * sx
        better = gain > best
        best, scale, low = (np.where(better, a, b) for a, b in ((gain, best), (step, scale), (shift, low)))
    return scale, -low


def _factors(
    d: Floats, dmin: Floats, scale: Floats, low: Floats, sw: Floats, sx: Floats, sq: Floats, sqq: Floats, sxq: Floats
) -> tuple[Floats, Floats]:
    """The two factors of least squares for given multiples and levels; as they were where there are none above zero."""
    import numpy as np

    a, b, c, u, t = (
        s.sum(axis=1, keepdims=True)
        for s in (scale * scale * sqq, scale * low * sq, low * low * sw, scale * sxq, low * sx)
    )
    det = a * c - b * b
    both, one = (c * u - b * t) / det, u / a
    least = (b * u - a * t) / det
    regular = (det > SINGULAR * a * c) & (both > 0) & (least > 0)
    alone = ~(dmin > 0) & (one > 0)
    return np.where(regular, both, np.where(alone, one, d)), np.where(regular, least, dmin)


# ---- the same in SIMD ---------------------------------------------------------------------------------------------


def plain_weight(v: InstructionSet, search: Affine) -> Any:
    """`(x, mean square of the group)` -> weights."""
    even = search.even
    return v.jitable(lambda x, square: v.absolute(x) + v.sqrt(square) * even)


def find(v: InstructionSet, shape: Shape, search: Affine) -> Any:
    """`(scratch)`: from columns and weights to d and dmin, multiples, and what turns values into levels."""
    steps = Steps(
        _fit_lanes(v, shape, search), _start(v, shape, search), _sum_lanes(v, shape, search), _improve(v, shape, search)
    )
    return alternate(v, shape, search.rounds, steps)


def _trial(v: InstructionSet, search: Affine) -> Any:
    """`(xs, bottom, inverse)` -> weighted sums of the levels q of (x - bottom) * inverse, of q * q and of q * x."""
    f32, group, vector, max_level = v.f32, search.group, 4 * v.LANES, search.max_level

    def trial(xs, bottom, inverse):
        sq, sqq, sxq = v.zero(f32), v.zero(f32), v.zero(f32)
        for i in range(group):
            x, w = v.load(f32, xs + vector * i), v.load(f32, xs + (WEIGHTS - COLUMNS) + vector * i)
            q = v.round_even((x - bottom) * inverse)
            q = v.minimum(v.maximum(q, v.zero(f32)), v.splat(f32, max_level))
            wq = w * q
            sq, sqq, sxq = sq + wq, sqq + wq * q, sxq + wq * x
        return sq, sqq, sxq

    return v.jitable(trial)


def _fit_lanes(v: InstructionSet, shape: Shape, search: Affine) -> Any:
    f32, lanes, group, max_level = v.f32, v.LANES, search.group, search.max_level
    vector, first, step, trials = 4 * lanes, search.max_level + search.first, search.step, search.trials
    trial = _trial(v, search)

    def fit(scratch, part):
        xs = scratch + COLUMNS + vector * group * part
        ws, at = xs + (WEIGHTS - COLUMNS), scratch + vector * part
        bottom, highest, zero = v.zero(f32), v.load(f32, xs), v.zero(f32)
        sw, sx = v.zero(f32), v.zero(f32)
        for i in range(group):
            x, w = v.load(f32, xs + vector * i), v.load(f32, ws + vector * i)
            bottom, highest = v.minimum(bottom, x), v.maximum(highest, x)
            sw, sx = sw + w, sx + w * x
        span = highest - bottom
        scale, low, best = span * (1 / max_level), bottom, v.splat(f32, -1e30)
        for t in range(trials):
            sq, sqq, sxq = trial(xs, bottom, v.splat(f32, first + step * t) / span)
            det, below = sw * sqq - sq * sq, sq * sxq - sqq * sx
            # A determinant that is only rounding, or a minimum above zero: the scale alone, through zero.
            sign = v.select_gt(det, sw * sqq * SINGULAR, below, zero)
            shift = v.select_gt(sign, zero, (zero - below) / det, zero)
            size = v.select_gt(sign, zero, (sw * sxq - sx * sq) / det, sxq / sqq)
            gain = size * sxq + shift * sx
            scale, low = v.select_gt(gain, best, size, scale), v.select_gt(gain, best, shift, low)
            best = v.select_gt(gain, best, gain, best)
        v.store(at + FIT, scale)
        v.store(at + FIT_MIN, zero - low)
        v.store(at + SUM_W, sw)
        v.store(at + SUM_X, sx)

    return v.jitable(fit)


def _sum_lanes(v: InstructionSet, shape: Shape, search: Affine) -> Any:
    """`(scratch, part)`: the levels that the present scales give, and their sums."""
    f32, group, vector, trial = v.f32, search.group, 4 * v.LANES, _trial(v, search)

    def sums(scratch, part):
        xs, at = scratch + COLUMNS + vector * group * part, scratch + vector * part
        sq, sqq, sxq = trial(xs, v.zero(f32) - v.load(f32, at + OFFSET), v.load(f32, at + INVERSE))
        v.store(at + SUM_Q, sq)
        v.store(at + SUM_QQ, sqq)
        v.store(at + SUM_XQ, sxq)

    return v.jitable(sums)


def _settle(v: InstructionSet, shape: Shape) -> Any:
    """`(scratch, at, d, dmin, scale, low)`: keep them, `at` lanes on, and what turns values into levels."""
    wide, keep = v.Vec("f32", shape.wide), kept_bytes(v, shape)

    def settle(scratch, at, d, dmin, scale, low):
        p, step, zero = scratch + 4 * at, d * scale, v.zero(wide)
        v.store(p + STEP, d)
        v.store(p + LOW, dmin)
        v.store(p + SCALE, scale)
        v.store(p + MIN, low)
        v.store(p + INVERSE, v.select_gt(step, zero, v.splat(wide, 1) / step, zero))
        v.store(p + OFFSET, dmin * low)
        keep(scale, scratch + SCALE_BYTES + at)
        keep(low, scratch + MIN_BYTES + at)

    return v.jitable(settle)


def _multiple(v: InstructionSet, shape: Shape, search: Affine) -> Any:
    """`(ideal, d, before)`: the multiple of d nearest to `ideal`, or what it was where d is not above zero."""
    wide, most = v.Vec("f32", shape.wide), search.max_scale

    def multiple(ideal, d, before):
        zero = v.zero(wide)
        whole = v.round_even(v.minimum(v.maximum(ideal / d, zero), v.splat(wide, most)))
        return v.select_gt(d, zero, whole, before)

    return v.jitable(multiple)


def _start(v: InstructionSet, shape: Shape, search: Affine) -> Any:
    wide, rounded, settle = v.Vec("f32", shape.wide), float16_rounding(v, shape), _settle(v, shape)
    multiple, part = _multiple(v, shape, search), 1 / search.max_scale
    most = v.jitable((lambda x: v.splat(wide, v.reduce_max(x))) if shape.groups > 1 else (lambda x: x))

    def start(scratch, at):
        fit, low, zero = v.load(wide, scratch + FIT + 4 * at), v.load(wide, scratch + FIT_MIN + 4 * at), v.zero(wide)
        d, dmin = (
            rounded(most(fit) * part, scratch, at, FLOAT16_D),
            rounded(most(low) * part, scratch, at, FLOAT16_DMIN),
        )
        settle(scratch, at, d, dmin, multiple(fit, d, zero), multiple(low, dmin, zero))

    return v.jitable(start)


def _improve(v: InstructionSet, shape: Shape, search: Affine) -> Any:
    """`(scratch, at)`: multiples, then factors, that suit the levels best."""
    wide, rounded, settle = v.Vec("f32", shape.wide), float16_rounding(v, shape), _settle(v, shape)
    multiple, total = _multiple(v, shape, search), over_block(v, shape)

    def improve(scratch, at):
        p, zero = scratch + 4 * at, v.zero(wide)
        d, dmin, scale, low = (
            v.load(wide, p + STEP),
            v.load(wide, p + LOW),
            v.load(wide, p + SCALE),
            v.load(wide, p + MIN),
        )
        sw, sx, sq = v.load(wide, p + SUM_W), v.load(wide, p + SUM_X), v.load(wide, p + SUM_Q)
        sqq, sxq = v.load(wide, p + SUM_QQ), v.load(wide, p + SUM_XQ)
        low = multiple(d * scale * sq - sx, sw * dmin, low)
        scale = multiple(sxq + dmin * low * sq, d * sqq, scale)
        a, b, c = total(scale * scale * sqq), total(scale * low * sq), total(low * low * sw)
        u, t = total(scale * sxq), total(low * sx)
        det, one = a * c - b * b, u / a
        both, least = (c * u - b * t) / det, (b * u - a * t) / det
        regular = v.select_gt(det, a * c * SINGULAR, v.select_gt(both, zero, least, zero), zero)
        alone = v.select_gt(dmin, zero, zero, one)
        d = v.select_gt(regular, zero, both, v.select_gt(alone, zero, one, d))
        dmin = v.select_gt(regular, zero, least, dmin)
        settle(scratch, at, rounded(d, scratch, at, FLOAT16_D), rounded(dmin, scratch, at, FLOAT16_DMIN), scale, low)

    return v.jitable(improve)
