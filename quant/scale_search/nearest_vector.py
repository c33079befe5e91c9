"""The vector of a codebook with the least weighted error, the sum of w * (x - scale * y)^2: found exactly.

Few levels occur in a codebook, so the error of each half of a vector is tabulated: for all its 64 or 81 combinations of
levels, of which a codebook uses some pairs. For each first half that occurs, the least of the second halves that go
with it costs one comparison each, and the error of the first half is added once. In lanes the number of a second half
stands in the lowest bits of its error, so that the minimum tells which it was. Independent of any format.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack
from typing import TYPE_CHECKING, Any

from ..simd.instruction_set import InstructionSet
from .search import COLUMNS, TABLES, WEIGHTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Numbers = NDArray[np.intp]

NUMBER = 127  # the bits that hold the number of a second half
UNROLLED = 4
HUGE = 3.4e38


class Book:
    """A codebook (count, 4 or 8) of whole numbers, sorted by halves.

    A vector is two halves; a half is a number, its levels being the digits, the first one highest. `vectors` are the
    vectors in the order of `first` and `second`, the numbers of their halves; `index`: where each was in the codebook.
    """

    def __init__(self, vectors: NDArray[np.int8]) -> None:
        import numpy as np

        levels, digits = np.unique(vectors, return_inverse=True)
        digits = digits.reshape(vectors.shape)
        self.levels = tuple(int(level) for level in levels)
        self.size = vectors.shape[1]
        self.halves = len(levels) ** (self.size // 2)
        place = len(levels) ** np.arange(self.size // 2 - 1, -1, -1)
        first, second = digits[:, : self.size // 2] @ place, digits[:, self.size // 2 :] @ place
        self.index = np.lexsort((second, first))
        self.first, self.second = first[self.index], second[self.index]
        self.vectors = vectors[self.index].astype(np.float32)

    def nearest(self, x: Floats, w: Floats, scale: Floats, shift: Floats) -> tuple[Floats, Numbers]:
        """For values and weights (size, n), a scale and a shift of all levels (n,) each.

        The error of the best vector, and its number in `vectors`: (n,) each.
        """
        import numpy as np

        levels = (np.array(self.levels, np.float32)[:, None] + shift) * scale
        errors = w[:, None] * (x[:, None] - levels) ** 2
        halves = [self._sums(errors[: self.size // 2]), self._sums(errors[self.size // 2 :])]
        seconds = (halves[1].view(np.int32) & ~NUMBER | np.arange(self.halves)[:, None]).astype(np.int32)
        total = halves[0][self.first] + seconds.view(np.float32)[self.second]
        best = total.argmin(axis=0)
        return total[best, np.arange(len(best))], best

    def _sums(self, errors: Floats) -> Floats:
        """(values, levels, n) -> (levels ** values, n)."""
        total: Floats = errors[0]
        for error in errors[1:]:
            total = (total[:, None] + error).reshape(-1, error.shape[1])
        return total

    def index_table(self) -> bytes:
        """For each pair of halves, the index of that vector in the codebook as uint16; 0 where there is none."""
        import numpy as np

        table = np.zeros(self.halves * self.halves, np.uint16)
        table[self.first * self.halves + self.second] = self.index
        return table.tobytes()

    def digit_table(self) -> bytes:
        """For each half an int32 of its levels, the first one in the lowest byte."""
        import numpy as np

        table, sides = np.zeros((self.halves, 4), np.int8), self.vectors.reshape(len(self.vectors), 2, -1)
        for side, numbers in enumerate((self.first, self.second)):
            table[numbers, : self.size // 2] = sides[:, side]
        return table.tobytes()

    def pair_tables(self, vector: int) -> tuple[int, bytes, bytes]:
        """How many first halves occur; each with a count, uint16; and what to compare, offsets in vectors, uint16.

        The second halves of a first one are UNROLLED times its count; the last is repeated where they are fewer.
        """
        import numpy as np

        heads, members = [], []
        for first in np.unique(self.first):
            own = self.second[self.first == first]
            own = np.pad(own, (0, -len(own) % UNROLLED), mode="edge")
            heads.append((first, len(own) // UNROLLED))
            members.append(own * vector)
        return len(heads), np.array(heads, np.uint16).tobytes(), np.concatenate(members).astype(np.uint16).tobytes()


# ---- the same in SIMD ---------------------------------------------------------------------------------------------


def nearest(v: InstructionSet, book: Book) -> Any:
    """`(xs, scale, shift, scratch)` -> error, first half, second half, of the best vector in each lane.

    `xs`: the first of `size` vectors of values in COLUMNS; weights are those in WEIGHTS.
    """
    f32, i32, vector = v.f32, v.i32, 4 * v.LANES
    count, heads, members = book.pair_tables(vector)
    heads_at, members_at, fill = v.table(heads), v.table(members), _tabulate(v, book)
    seconds = book.halves * vector  # the table of second halves follows that of the first

    def find(xs, scale, shift, scratch):
        table = scratch + TABLES
        fill(xs, scale, shift, table)
        best, first, second = v.splat(f32, HUGE), v.zero(i32), v.zero(i32)
        head, member = heads_at(), members_at()
        for _ in range(v.hide(count)):
            number, left = v.load_u16(head), v.load_u16(head + 2)
            a, b = v.splat(f32, HUGE), v.splat(f32, HUGE)
            for _ in range(left):
                a = v.minimum(a, v.load(f32, table + seconds + v.load_u16(member)))
                b = v.minimum(b, v.load(f32, table + seconds + v.load_u16(member + 2)))
                a = v.minimum(a, v.load(f32, table + seconds + v.load_u16(member + 4)))
                b = v.minimum(b, v.load(f32, table + seconds + v.load_u16(member + 6)))
                member += 2 * UNROLLED
            least = v.minimum(a, b)
            error = v.load(f32, table + number * vector) + least
            first = v.select_gt(best, error, v.splat(i32, number), first)
            second = v.select_gt(best, error, v.bitcast(i32, least) & NUMBER, second)
            best = v.minimum(best, error)
            head += 4
        return best, first, second

    return v.jitable(find)


def _tabulate(v: InstructionSet, book: Book) -> Any:
    """`(xs, scale, shift, table)`: the errors of all first halves, then those of all second ones, numbered."""
    f32, i32, vector = v.f32, v.i32, 4 * v.LANES
    levels, size, halves = len(book.levels), book.size, book.halves
    values = v.table(float_bytes(book.levels))
    quarter = levels ** (size // 4)  # combinations of half a half
    singles = 2 * halves * vector  # then the errors of single values, and of pairs of them
    pairs = singles + size * levels * vector if size == 8 else singles

    @v.jitable
    def single(xs, scale, shift, table):
        for j in range(v.hide(levels)):
            level = (v.load_splat(f32, values() + 4 * j) + shift) * scale
            for i in range(size):
                error = v.load(f32, xs + vector * i) - level
                weight = v.load(f32, xs + (WEIGHTS - COLUMNS) + vector * i)
                v.store(table + singles + vector * (levels * i + j), weight * error * error)

    @v.jitable
    def added(table, source, count, out):
        """All sums of one of `count` vectors and one of the next `count`."""
        for i in range(v.hide(count)):
            x = v.load(f32, table + source + vector * i)
            for j in range(count):
                v.store(table + out + vector * (count * i + j), x + v.load(f32, table + source + vector * (count + j)))

    def fill(xs, scale, shift, table):
        single(xs, scale, shift, table)
        if size == 8:
            for i in range(v.hide(4)):
                added(table, singles + 2 * levels * vector * i, levels, pairs + quarter * vector * i)
        for half in range(v.hide(2)):
            added(table, pairs + 2 * quarter * vector * half, quarter, halves * vector * half)
        for i in range(halves):
            at = table + vector * (halves + i)
            v.store(at, v.load(i32, at) & ~NUMBER | v.splat(i32, i))

    return v.jitable(fill)


def level_sums(v: InstructionSet, book: Book) -> Any:
    """`(xs, first, second, shift, scratch)` -> sums of squared levels, and of values times levels, both weighted."""
    f32, i32, vector, half = v.f32, v.i32, 4 * v.LANES, book.size // 2
    digits, short = v.table(book.digit_table()), v.Vec("i16", v.LANES)

    @v.jitable
    def of_half(xs, numbers, shift, scratch, sqq, sxq):
        v.store(scratch + TABLES, v.truncate(short, numbers))
        packed = v.load_indexed(i32, digits(), scratch + TABLES)
        for i in range(half):
            x, w = v.load(f32, xs + vector * i), v.load(f32, xs + (WEIGHTS - COLUMNS) + vector * i)
            y = v.to_f32(f32, v.shift_signed(packed << 24 - 8 * i, 24)) + shift
            wy = w * y
            sqq, sxq = sqq + wy * y, sxq + wy * x
        return sqq, sxq

    def sums(xs, first, second, shift, scratch):
        sqq, sxq = of_half(xs, first, shift, scratch, v.zero(f32), v.zero(f32))
        return of_half(xs + vector * half, second, shift, scratch, sqq, sxq)

    return v.jitable(sums)


def float_bytes(values: Sequence[float]) -> bytes:
    """Numbers as float32."""
    return pack(f"{len(values)}f", *values)
