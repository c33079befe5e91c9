"""The search of `codebook` in SIMD: a lane is a group."""

from __future__ import annotations

from typing import Any

from ..simd.instruction_set import InstructionSet
from .codebook import INDICES, MARKS, Codebook
from .nearest_vector import HUGE, float_bytes, level_sums, nearest
from .search import (
    COLUMNS,
    FIT,
    FLOAT16_D,
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
    float16_rounding,
    kept_bytes,
    over_block,
)
from .symmetric import INFINITE, MARGIN, stairs


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
