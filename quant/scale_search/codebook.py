"""The search behind codebook formats: x ~ d * unit * (2 * number + 1) * (y + shift), y vectors of a codebook.

Signs are stored beside the codebook, so magnitudes are searched. Where the number of minus signs of eight values must
be even, the value whose sign costs least is taken with the other sign, as a target below zero. Formats without signs
add a shift of 1 or -1 to all levels of some values.

Each group tries several scales, with levels that are rounded as if the codebook had all vectors. Scales become odd
multiples of a float16 factor d; then, in turn, the neighbouring multiples are tried with the vectors that the codebook
has, and d is chosen anew. The layout in bytes is each format's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..simd.instruction_set import InstructionSet
from .nearest_vector import HUGE, Book, float_bytes, level_sums, nearest
from .search import (
    COLUMNS,
    FIT,
    FLOAT16_D,
    FLOOR,
    LEVELS,
    SCALE,
    SCALE_BYTES,
    STEP,
    SUM_QQ,
    SUM_XQ,
    TABLES,
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
from .symmetric import INFINITE, MARGIN, stairs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Bytes = NDArray[np.uint8]

INDICES, MARKS = 0, 128  # where the search leaves a block's indices (uint16) and marks (a byte for eight values)
TRIALS = tuple(0.9 + 0.3 * i for i in range(8))


@dataclass(frozen=True, slots=True)
class Codebook:
    """`groups` groups of `group` values in a block of 256; `most` is the greatest number of a scale.

    `signs`: any, an even number of minus signs among eight values, or none; then `shifted` values have one shift.
    `trials`: root mean squares that the highest level is given; `reach`: multiples tried below and above; `rounds`: of
    choosing anew; `even` and `floor` as in `Symmetric`.
    """

    book: Book
    group: int
    groups: int
    most: int
    unit: float
    signs: Literal["any", "even", "none"]
    shifted: int = 0
    trials: tuple[float, ...] = TRIALS
    reach: int = 1
    rounds: int = 1
    even: float = 1.0
    floor: float = FLOOR

    def with_more_effort(self) -> Codebook:
        """The search of more effort."""
        finer = tuple(0.8 + 0.1 * i for i in range(26))
        return replace(self, trials=finer, reach=2, rounds=3)

    @property
    def ratios(self) -> tuple[float, ...]:
        """The trials as scales, of a group whose root mean square is 1."""
        return tuple(trial / self.book.levels[-1] for trial in self.trials)


class CodebookBlocks(NamedTuple):
    """What n blocks are stored as.

    d (n,), float32 of float16 precision; the numbers of its multiples (n, groups) uint8; indices (n, vectors) uint16;
    for eight values the bits of their signs, or 1 where they are shifted down: (n, 32) uint8.
    """

    d: Floats
    scale: Bytes
    index: NDArray[np.uint16]
    marks: Bytes


# ---- the reference, in NumPy: a column is a group -----------------------------------------------------------------


def codebook_blocks(x: Floats, importance: Floats | None, search: Codebook) -> CodebookBlocks:
    """Blocks (n, 256) float32, their importance likewise -> how they are stored."""
    import numpy as np

    n, groups = len(x), search.groups
    unit, shrink = powers(x)
    values = columns_of(x * shrink, search.group)
    if importance is None:
        squares = values * values
        weights = squares + np.float32(search.even) * squares.mean(axis=0)
    else:
        weights = important(values, columns_of(importance, search.group), search.floor)
    targets, marks = _folded(values, weights, search)

    def rounded(d: Floats) -> Floats:
        half = (d * np.float32(1 / search.unit) * unit).astype(np.float16).astype(np.float32)
        return half * shrink * np.float32(search.unit)

    def scales() -> Floats:
        return (d * (2 * number + 1)).reshape(-1)

    fit = _fit(targets, weights, search).reshape(n, groups)
    d = rounded(fit.max(axis=1, keepdims=True) * np.float32(1 / (2 * search.most + 1)))
    number = np.where(d > 0, np.rint((fit / d - 1) * np.float32(0.5)).clip(0, search.most), np.float32(0))
    for _ in range(search.rounds):
        start, least = number, np.full(targets.shape[1], HUGE, np.float32)
        sums, chosen = np.zeros((2, len(least)), np.float32), number.reshape(-1)
        for offset in range(-search.reach, search.reach + 1):
            number = (start + np.float32(offset)).clip(0, search.most)
            error, levels, _, _ = _nearest(targets, weights, scales(), search)
            better = error < least
            found = np.stack([(weights * levels * y).sum(axis=0) for y in (levels, targets)])
            chosen = np.where(better, number.reshape(-1), chosen)
            sums, least = np.where(better, found, sums), np.where(better, error, least)
        number = chosen.reshape(n, groups)
        multiple, (sqq, sxq) = 2 * number + 1, sums.reshape(2, n, groups)
        a, u = (multiple * multiple * sqq).sum(axis=1, keepdims=True), (multiple * sxq).sum(axis=1, keepdims=True)
        d = rounded(np.where((a > 0) & (d < INFINITE), np.maximum(u, 0) / a, d))
    _, _, index, shifts = _nearest(targets, weights, scales(), search)
    if search.shifted:
        marks = (shifts[::8] < 0).T.reshape(n, 32).astype(np.uint8)
    stored = d[:, 0] * unit[:, 0] * np.float32(1 / search.unit)
    return CodebookBlocks(stored, number.astype(np.uint8), index.T.reshape(n, -1).astype(np.uint16), marks)


def _folded(x: Floats, w: Floats, search: Codebook) -> tuple[Floats, Bytes]:
    """What vectors of the codebook are to be near to, (group, n), and the bits of signs (blocks, 32)."""
    import numpy as np

    if search.signs == "none":
        return x, np.zeros((0, 32), np.uint8)
    eights = x.reshape(-1, 8, x.shape[1])
    minus, flip = np.signbit(eights), np.zeros(eights.shape, bool)
    if search.signs == "even":
        cheapest = (w.reshape(eights.shape) * np.abs(eights)).argmin(axis=1)[:, None]
        np.put_along_axis(flip, cheapest, minus.sum(axis=1, keepdims=True) % 2 == 1, axis=1)
    bits = np.packbits(minus ^ flip, axis=1, bitorder="little")[:, 0].T.reshape(-1, 32)
    folded: Floats = np.where(flip, -np.abs(eights), np.abs(eights)).reshape(x.shape)
    return folded, bits


def _fit(x: Floats, w: Floats, search: Codebook) -> Floats:
    """The scale of each group, (group, n) -> (n,): of all trials that of least error, were all vectors there."""
    import numpy as np

    size = np.sqrt((w * x * x).sum(axis=0) / w.sum(axis=0))
    best, scale = np.zeros((2, x.shape[1]), np.float32)
    for ratio in search.ratios:
        inverse = _inverse(size * np.float32(ratio))
        shifts = _shifts(x, w, inverse, search)
        q = _rounded(x * inverse - shifts, search) + shifts
        sxq, sqq = np.maximum((w * x * q).sum(axis=0), 0), (w * q * q).sum(axis=0)
        better = sxq * sxq > best * sqq * np.float32(MARGIN)
        scale = np.where(better, sxq / sqq, scale)
        best = np.where(better, scale * sxq, best)
    return scale


def _nearest(x: Floats, w: Floats, scale: Floats, search: Codebook) -> tuple[Floats, Floats, NDArray[np.intp], Floats]:
    """Of groups (group, n) with a scale each: error (n,); levels and shifts (group, n); indices (vectors, n).

    In this order: error, levels, indices, shifts.
    """
    import numpy as np

    book, shifts = search.book, _shifts(x, w, _inverse(scale), search)
    error, levels, index = np.zeros_like(scale), np.empty_like(x), []
    for at in range(0, search.group, book.size):
        part = slice(at, at + book.size)
        more, best = book.nearest(x[part], w[part], scale, shifts[at])
        error, levels[part] = error + more, book.vectors[best].T
        index.append(book.index[best])
    return error, levels + shifts, np.stack(index), shifts


def _shifts(x: Floats, w: Floats, inverse: Floats, search: Codebook) -> Floats:
    """1 or -1 for each value (group, n), whichever suits those that share it better; 0 in formats with signs."""
    import numpy as np

    if not search.shifted:
        return np.zeros_like(x)
    t = x * inverse
    up, down = (
        (w * (t - shift - _rounded(t - shift, search)) ** 2).reshape(-1, search.shifted, x.shape[1]).sum(axis=1)
        for shift in (np.float32(1), np.float32(-1))
    )
    return np.where(down < up, np.float32(-1), np.float32(1)).repeat(search.shifted, axis=0)


def _rounded(t: Floats, search: Codebook) -> Floats:
    """The nearest levels, of any vectors."""
    import numpy as np

    table = np.array(search.book.levels, np.float32)
    levels: Floats = table[np.searchsorted((table[1:] + table[:-1]) / 2, t, side="right")]
    return levels


def _inverse(scale: Floats) -> Floats:
    import numpy as np

    return np.where(scale > 0, 1 / scale, np.float32(0))


# ---- the same in SIMD ---------------------------------------------------------------------------------------------


def plain_weight(v: InstructionSet, search: Codebook) -> Any:
    """`(x, mean square of the group)` -> weights."""
    even = search.even
    return v.jitable(lambda x, square: x * x + square * even)


def find(v: InstructionSet, shape: Shape, search: Codebook) -> Any:
    """`(scratch)`: from columns and weights to d and the numbers of its multiples; signs are left in LEVELS."""
    steps = Steps(_fit_lanes(v, search), _start(v, shape, search), _sum_lanes(v, search), _improve(v, shape, search))
    run, fold, parts = alternate(v, shape, search.rounds, steps), _fold(v, search), shape.parts
    if search.signs == "none":
        return run

    def folded(scratch):
        for part in range(parts):
            fold(scratch, part)
        run(scratch)

    return v.jitable(folded)


def levels(v: InstructionSet, shape: Shape, search: Codebook) -> Any:
    """`(scratch)`: indices of all vectors, and shifts, to LEVELS."""
    f32, vector, parts, group, size = v.f32, 4 * v.LANES, shape.parts, search.group, search.book.size
    shared, best, pick = search.shifted or group, nearest(v, search.book), _pick_shift(v, search)
    halves, index, lanes = search.book.halves, v.table(search.book.index_table()), v.LANES
    keep, spread, marked = _keep_bytes(v, search), v.Vec("i16", v.LANES), bool(search.shifted)
    one, vectors = v.Vec("i16", 1), 256 // search.book.size

    @v.jitable
    def put(scratch, first, second, lane_0):
        """Indices of a vector in each lane, that of lane 0 being number `lane_0` of the unit."""
        v.store(scratch + TABLES, v.truncate(spread, first * halves + second))
        for lane in range(lanes):
            number = lane_0 + group // size * lane
            at = scratch + LEVELS + INDICES + 256 * (number // vectors) + 2 * (number % vectors)
            v.store(at, v.load(one, index() + 2 * v.load_u16(scratch + TABLES + 2 * lane)))

    def fill(scratch):
        for part in range(parts):
            xs, at = scratch + COLUMNS + vector * group * part, scratch + vector * part
            number = v.load(f32, at + SCALE)
            scale = v.load(f32, at + STEP) * (number + number + 1)
            for i in range(0, v.hide(group), shared):
                shift = pick(xs + vector * i, scale)
                if marked:
                    down = v.to_i32(v.i32, v.splat(f32, 0.5) - shift * 0.5)
                    for j in range(shared // 8):
                        keep(scratch, down, part, i // 8 + j)
                for j in range(0, v.hide(shared), size):
                    _, first, second = best(xs + vector * (i + j), scale, shift, scratch)
                    put(scratch, first, second, (lanes * part * group + i + j) // size)

    return v.jitable(fill)


def _keep_bytes(v: InstructionSet, search: Codebook) -> Any:
    """`(scratch, bits, part, i)`: the marks of the i-th eight values of every group."""
    short, one, group, lanes = v.Vec("i8", v.LANES), v.Vec("i8", 1), search.group, v.LANES

    def keep(scratch, bits, part, i):
        v.store(scratch + TABLES, v.truncate(short, bits))
        for lane in range(lanes):
            number = (lanes * part + lane) * group // 8 + i
            at = scratch + LEVELS + MARKS + 256 * (number // 32) + number % 32
            v.store(at, v.load(one, scratch + TABLES + lane))

    return v.jitable(keep)


def _fold(v: InstructionSet, search: Codebook) -> Any:
    """`(scratch, part)`: values in COLUMNS become what vectors are to be near to; their signs go to LEVELS."""
    f32, i32, vector, group, even = v.f32, v.i32, 4 * v.LANES, search.group, search.signs == "even"
    keep = _keep_bytes(v, search)

    @v.jitable
    def eight(xs):
        bits, odd, flip, least = v.zero(i32), v.zero(i32), v.zero(i32), v.splat(f32, HUGE)
        for i in range(8):
            x, w = v.load(f32, xs + vector * i), v.load(f32, xs + (WEIGHTS - COLUMNS) + vector * i)
            minus, cost = v.bitcast(i32, x) >> 31, w * v.absolute(x)
            bits, odd = bits | minus << i, odd ^ minus
            flip = v.select_gt(least, cost, v.splat(i32, 1 << i), flip)
            least = v.minimum(least, cost)
        flip = flip & v.zero(i32) - odd if even else v.zero(i32)
        for i in range(8):
            x = v.bitcast(i32, v.absolute(v.load(f32, xs + vector * i)))
            v.store(xs + vector * i, x | flip >> i << 31)
        return bits ^ flip

    def fold(scratch, part):
        for i in range(v.hide(group // 8)):
            bits = eight(scratch + COLUMNS + vector * (group * part + 8 * i))
            keep(scratch, bits, part, i)

    return v.jitable(fold)


def _pick_shift(v: InstructionSet, search: Codebook) -> Any:
    """`(xs, scale)` -> 1 or -1 in each lane, whichever suits the `shifted` values at `xs` better; 0 with signs."""
    f32, vector, count = v.f32, 4 * v.LANES, search.shifted
    if not count:
        return v.jitable(lambda xs, scale: v.zero(f32))
    level, zero, one = stairs(v, f32, search.book.levels), v.jitable(lambda: v.zero(f32)), v.splat

    @v.jitable
    def error(t, w):
        e = t - level(t)
        return w * e * e

    def pick(xs, scale):
        up, down, inverse = v.zero(f32), v.zero(f32), v.select_gt(scale, zero(), one(f32, 1) / scale, zero())
        for i in range(v.hide(count)):
            t, w = v.load(f32, xs + vector * i) * inverse, v.load(f32, xs + (WEIGHTS - COLUMNS) + vector * i)
            up, down = up + error(t - 1, w), down + error(t + 1, w)
        return v.select_gt(up, down, one(f32, -1), one(f32, 1))

    return v.jitable(pick)


def _fit_lanes(v: InstructionSet, search: Codebook) -> Any:
    f32, vector, group = v.f32, 4 * v.LANES, search.group
    shared, pick, level = search.shifted or group, _pick_shift(v, search), stairs(v, f32, search.book.levels)
    trials, ratios = len(search.ratios), v.table(float_bytes(search.ratios))

    @v.jitable
    def size(xs):
        total, square = v.zero(f32), v.zero(f32)
        for i in range(group):
            x, w = v.load(f32, xs + vector * i), v.load(f32, xs + (WEIGHTS - COLUMNS) + vector * i)
            total, square = total + w, square + w * x * x
        return v.sqrt(square / total)

    @v.jitable
    def trial(xs, scale):
        sqq, sxq, zero = v.zero(f32), v.zero(f32), v.zero(f32)
        inverse = v.select_gt(scale, zero, v.splat(f32, 1) / scale, zero)
        for i in range(0, v.hide(group), shared):
            shift = pick(xs + vector * i, scale)
            for j in range(i, i + v.hide(shared)):
                x, w = v.load(f32, xs + vector * j), v.load(f32, xs + (WEIGHTS - COLUMNS) + vector * j)
                q = level(x * inverse - shift) + shift
                wq = w * q
                sqq, sxq = sqq + wq * q, sxq + wq * x
        return sqq, v.maximum(sxq, zero)

    def fit(scratch, part):
        xs = scratch + COLUMNS + vector * group * part
        width, best, scale = size(xs), v.zero(f32), v.zero(f32)
        for i in range(v.hide(trials)):
            sqq, sxq = trial(xs, width * v.load_f32(ratios() + 4 * i))
            left, right = sxq * sxq, best * sqq * MARGIN
            scale = v.select_gt(left, right, sxq / sqq, scale)
            best = v.select_gt(left, right, scale * sxq, best)
        v.store(scratch + FIT + vector * part, scale)

    return v.jitable(fit)


def _sum_lanes(v: InstructionSet, search: Codebook) -> Any:
    """`(scratch, part)`: of the neighbouring multiples the one of least error, and the sums of its levels."""
    f32, vector, group, most, reach = v.f32, 4 * v.LANES, search.group, search.most, search.reach
    book, shared, pick = search.book, search.shifted or search.group, _pick_shift(v, search)
    best, level = nearest(v, book), level_sums(v, book)
    size = book.size

    @v.jitable
    def tried(xs, scale, scratch):
        error, sqq, sxq = v.zero(f32), v.zero(f32), v.zero(f32)
        for i in range(0, v.hide(group), shared):
            shift = pick(xs + vector * i, scale)
            for j in range(i, i + v.hide(shared), size):
                more, first, second = best(xs + vector * j, scale, shift, scratch)
                qq, xq = level(xs + vector * j, first, second, shift, scratch)
                error, sqq, sxq = error + more, sqq + qq, sxq + xq
        return error, sqq, sxq

    def sums(scratch, part):
        at, xs = scratch + vector * part, scratch + COLUMNS + vector * group * part
        d, start, least = v.load(f32, at + STEP), v.load(f32, at + SCALE), v.splat(f32, HUGE)
        chosen, sum_qq, sum_xq = start, v.zero(f32), v.zero(f32)
        for i in range(v.hide(2 * reach + 1)):
            number = v.minimum(v.maximum(start + (i - reach), v.zero(f32)), v.splat(f32, most))
            error, sqq, sxq = tried(xs, d * (number + number + 1), scratch)
            chosen = v.select_gt(least, error, number, chosen)
            sum_qq, sum_xq = v.select_gt(least, error, sqq, sum_qq), v.select_gt(least, error, sxq, sum_xq)
            least = v.minimum(least, error)
        v.store(at + SCALE, chosen)
        v.store(at + SUM_QQ, sum_qq)
        v.store(at + SUM_XQ, sum_xq)

    return v.jitable(sums)


def _settle(v: InstructionSet, shape: Shape, search: Codebook) -> tuple[Any, Any]:
    """`(d, scratch, at)`: d rounded to what float16 holds; `(scratch, at, d, number)`: keep them."""
    keep, half, unit = kept_bytes(v, shape), float16_rounding(v, shape), search.unit

    def settle(scratch, at, d, number):
        v.store(scratch + STEP + 4 * at, d)
        v.store(scratch + SCALE + 4 * at, number)
        keep(number, scratch + SCALE_BYTES + at)

    return v.jitable(lambda d, scratch, at: half(d * (1 / unit), scratch, at, FLOAT16_D) * unit), v.jitable(settle)


def _start(v: InstructionSet, shape: Shape, search: Codebook) -> Any:
    wide, (rounded, settle) = v.Vec("f32", shape.wide), _settle(v, shape, search)
    most, part = search.most, 1 / (2 * search.most + 1)

    def start(scratch, at):
        fit, zero = v.load(wide, scratch + FIT + 4 * at), v.zero(wide)
        d = rounded(v.splat(wide, v.reduce_max(fit)) * part, scratch, at)
        number = v.minimum(v.maximum(v.round_even((fit / d - 1) * 0.5), zero), v.splat(wide, most))
        settle(scratch, at, d, v.select_gt(d, zero, number, zero))

    return v.jitable(start)


def _improve(v: InstructionSet, shape: Shape, search: Codebook) -> Any:
    """`(scratch, at)`: d that suits the levels best."""
    wide, (rounded, settle), total = v.Vec("f32", shape.wide), _settle(v, shape, search), over_block(v, shape)

    def improve(scratch, at):
        p, zero = scratch + 4 * at, v.zero(wide)
        d, number = v.load(wide, p + STEP), v.load(wide, p + SCALE)
        multiple, sxq = number + number + 1, v.load(wide, p + SUM_XQ)
        a, u = total(multiple * multiple * v.load(wide, p + SUM_QQ)), total(multiple * sxq)
        u = v.maximum(u, zero)
        d = v.select_gt(a, zero, v.select_gt(v.splat(wide, INFINITE), d, u / a, d), d)
        settle(scratch, at, rounded(d, scratch, at), number)

    return v.jitable(improve)
