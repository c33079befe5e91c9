"""What every search for scales shares: blocks in units of a power of two, groups side by side in lanes, their weights.

A lane is a group of values with a scale of its own. Squares must neither overflow nor vanish, so a block is searched in
units of the largest power of two in it, which changes no mantissa. What is minimized is the weighted error: larger
values, which dominate dot products, and columns of an importance matrix count more. Independent of any format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

MOST_VALUES, MOST_GROUPS = 512, 16  # of the blocks that are searched at once
# A thread's scratch, in bytes: values in their order; then one vector for each place in a group, lane = group; weights
# likewise; numbers of each group, a slot for each; scales and minima as bytes; levels found, a byte for each value;
# what vectors of codebooks cost (see `nearest_vector`).
NATURAL, COLUMNS, WEIGHTS, SLOTS = 0, 4 * MOST_VALUES, 8 * MOST_VALUES, 12 * MOST_VALUES
SLOT = 4 * MOST_GROUPS
UNIT, SHRINK, FIT, FIT_MIN, SUM_W, SUM_X, SUM_Q, SUM_QQ, SUM_XQ, STEP, LOW, SCALE, MIN, INVERSE, OFFSET = (
    SLOTS + SLOT * i for i in range(15)
)
FLOAT16_D, FLOAT16_DMIN, SCALE_BYTES, MIN_BYTES = (SLOTS + SLOT * i for i in range(15, 19))
LEVELS = SLOTS + 19 * SLOT
TABLES = LEVELS + MOST_VALUES
SCRATCH_BYTES = TABLES + 64 * 232
# An importance matrix comes from a sample: no column is taken to matter less than this part of its group's mean.
FLOOR = 1 / 16
SPREAD = 4  # times the mean square, added to a value's square: how evenly values count beside their importance
SINGULAR = 1e-5  # a determinant below this part of its first term is rounding


@dataclass(frozen=True, slots=True)
class Shape:
    """`groups` groups of `group` values in a block; what `lanes` lanes hold at once is a unit of `values` values."""

    group: int
    groups: int
    lanes: int

    @property
    def block(self) -> int:
        return self.group * self.groups

    @property
    def blocks(self) -> int:
        """Blocks of a unit."""
        return max(1, self.lanes // self.groups)

    @property
    def values(self) -> int:
        return self.blocks * self.block

    @property
    def parts(self) -> int:
        """Vectors of groups in a unit."""
        return self.blocks * self.groups // self.lanes

    @property
    def wide(self) -> int:
        """Lanes that are settled together: the groups of a block, or many blocks of one group."""
        return self.groups if self.groups > 1 else self.lanes


# ---- the reference, in NumPy: a column is a group -----------------------------------------------------------------


def powers(x: Floats) -> tuple[Floats, Floats]:
    """The largest power of two in each block (n, block), and its inverse: (n, 1) each; 0 where all are subnormal."""
    import numpy as np

    bits = np.minimum(np.abs(x).max(axis=1, keepdims=True).view(np.int32), 0x7E800000) & 0x7F800000
    return bits.view(np.float32), (0x7F000000 - bits).view(np.float32)


def columns_of(x: Floats, group: int) -> Floats:
    """Blocks (n, block) -> (group, n * groups): a column for each group."""
    import numpy as np

    return np.ascontiguousarray(x.reshape(-1, group).T)


def weighted(x: Floats, importance: Floats | None, group: int, even: float, floor: float) -> tuple[Floats, Floats]:
    """Blocks (n, block) in columns (group, n groups), and the weight of each value: its importance, or its square.

    To the square comes `even` times the mean square of the group.
    """
    import numpy as np

    values = columns_of(x, group)
    if importance is not None:
        return values, important(values, columns_of(importance, group), floor)
    squares = values * values
    return values, squares + np.float32(even) * squares.mean(axis=0)


def important(x: Floats, importance: Floats, floor: float) -> Floats:
    """Weights of values in columns (group, n), by the importance of each."""
    import numpy as np

    even = np.float32(SPREAD) * (x * x).mean(axis=0)
    weights: Floats = (importance + np.float32(floor) * importance.mean(axis=0)) * np.sqrt(even + x * x)
    return weights


# ---- the same in SIMD ---------------------------------------------------------------------------------------------


def load_unit(v: InstructionSet, shape: Shape) -> Any:
    """`(values, scratch) -> bits`: a unit into NATURAL and COLUMNS, in its powers of two; bits of the largest value."""
    f32, i32, lanes, block, groups = v.f32, v.i32, v.LANES, shape.block, shape.groups
    blocks = shape.blocks
    spread = columns(v, shape)

    @v.jitable
    def largest(p):
        peak = v.zero(i32)
        for i in range(block // lanes):
            peak = v.maximum(v.bitcast(i32, v.load(f32, p + 4 * lanes * i)) & 0x7FFFFFFF, peak)
        return v.int64(v.reduce_max(peak))

    def load(values, scratch):
        worst = 0
        for b in range(blocks):
            p, out = values + 4 * block * b, scratch + NATURAL + 4 * block * b
            bits = largest(p)
            worst = max(worst, bits)
            power = min(bits, 0x7E800000) & 0x7F800000
            shrink = v.as_f32(0x7F000000 - power)
            for i in range(block // lanes):
                v.store(out + 4 * lanes * i, v.load(f32, p + 4 * lanes * i) * shrink)
            for g in range(groups):
                v.store(scratch + UNIT + 4 * (groups * b + g), v.as_f32(power))
                v.store(scratch + SHRINK + 4 * (groups * b + g), shrink)
        spread(scratch + NATURAL, scratch + COLUMNS)
        return worst

    return v.jitable(load)


def columns(v: InstructionSet, shape: Shape) -> Any:
    """`(source, out)`: a unit of values at `source`, transposed: vector i of a part holds value i of every group."""
    i32, lanes, group, parts = v.i32, v.LANES, shape.group, shape.parts

    def spread(source, out):
        for part in range(parts):
            for j in range(group // 4):
                quads = v.load_rows(i32, source + 4 * group * lanes * part + 16 * j, 4 * group)
                for i in range(4):
                    v.store(out + 4 * lanes * (group * part + 4 * j + i), quads[i])

    return v.jitable(spread)


def weigh(v: InstructionSet, shape: Shape, plain: Any, least: float) -> Any:
    """`(scratch, importance)`: fill WEIGHTS, where there is no importance (0) by `plain_weight(x, mean square)`."""
    f32, lanes, group, parts = v.f32, v.LANES, shape.group, shape.parts
    spread, each = columns(v, shape), 1 / group

    @v.jitable
    def by_importance(xs, ws, square):
        total = v.zero(f32)
        for i in range(group):
            total = total + v.load(f32, ws + 4 * lanes * i)
        floor, even = total * (least * each), square * SPREAD
        for i in range(group):
            x = v.load(f32, xs + 4 * lanes * i)
            v.store(ws + 4 * lanes * i, (v.load(f32, ws + 4 * lanes * i) + floor) * v.sqrt(even + x * x))

    def fill(scratch, importance):
        if importance != 0:
            spread(importance, scratch + WEIGHTS)
        for part in range(parts):
            xs = scratch + COLUMNS + 4 * lanes * group * part
            ws = xs + (WEIGHTS - COLUMNS)
            square = v.zero(f32)
            for i in range(group):
                x = v.load(f32, xs + 4 * lanes * i)
                square = square + x * x
            square = square * each
            if importance != 0:
                by_importance(xs, ws, square)
            else:
                for i in range(group):
                    v.store(ws + 4 * lanes * i, plain(v.load(f32, xs + 4 * lanes * i), square))

    return v.jitable(fill)


class Steps(NamedTuple):
    """The steps of a search, functions for kernels.

    Of a part, a vector of groups: `fit(scratch, part)` tries scales; `sums(scratch, part)` finds the sums of the levels
    that the present scales give. Of a row, the lanes that are settled together: `start(scratch, at)` sets the float16
    factors and the multiples from the fit, `improve(scratch, at)` from the sums; `at` is the number of the first lane.
    """

    fit: Any
    start: Any
    sums: Any
    improve: Any


def alternate(v: InstructionSet, shape: Shape, rounds: int, steps: Steps) -> Any:
    """`(scratch)`: fit and start, then `rounds` times levels for the scales and scales for the levels."""
    parts, rows, wide = shape.parts, shape.values // (shape.group * shape.wide), shape.wide
    fit, start, sums, improve = steps

    def run(scratch):
        for part in range(parts):
            fit(scratch, part)
        for row in range(rows):
            start(scratch, wide * row)
        for _ in range(rounds):
            for part in range(parts):
                sums(scratch, part)
            for row in range(rows):
                improve(scratch, wide * row)

    return v.jitable(run)


def float16_rounding(v: InstructionSet, shape: Shape) -> Any:
    """`(x, scratch, at, slot)` -> x rounded to float16; its bytes are kept in `slot`, `at` lanes on."""
    wide, half = v.Vec("f32", shape.wide), v.Vec("f16", shape.wide)

    def rounded(x, scratch, at, slot):
        short = v.to_f16(half, x * v.load(wide, scratch + UNIT + 4 * at))
        v.store(scratch + slot + 2 * at, short)
        return v.to_f32(wide, short) * v.load(wide, scratch + SHRINK + 4 * at)

    return v.jitable(rounded)


def over_block(v: InstructionSet, shape: Shape) -> Any:
    """`x -> the sum of its lanes in all lanes`, where they are the groups of one block; else each for itself."""
    wide = v.Vec("f32", shape.wide)
    if shape.groups == 1:
        return v.jitable(lambda x: x)
    return v.jitable(lambda x: v.splat(wide, v.reduce_add(x)))


def kept_bytes(v: InstructionSet, shape: Shape) -> Any:
    """`(x, p)`: whole numbers in lanes to bytes at `p`."""
    i32, i8 = v.Vec("i32", shape.wide), v.Vec("i8", shape.wide)
    return v.jitable(lambda x, p: v.store(p, v.truncate(i8, v.to_i32(i32, x))))
