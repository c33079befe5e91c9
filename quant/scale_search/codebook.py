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
from typing import TYPE_CHECKING, Literal, NamedTuple

from .nearest_vector import HUGE, Book
from .search import FLOOR, powers, weighted
from .symmetric import INFINITE, MARGIN

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
    `trials`: what the highest level stands for, in root mean squares of the group; `reach`: multiples tried below and
    above; `rounds`: of choosing anew; `even` and `floor` as in `Symmetric`.
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
    even: float = 4.0
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
    indices: NDArray[np.uint16]
    marks: Bytes


def codebook_blocks(x: Floats, importance: Floats | None, search: Codebook) -> CodebookBlocks:
    """Blocks (n, 256) float32, their importance likewise -> how they are stored."""
    import numpy as np

    n, groups = len(x), search.groups
    unit, shrink = powers(x)
    values, weights = weighted(x * shrink, importance, search.group, search.even, search.floor)
    targets, marks = _folded(values, weights, search)

    def rounded(d: Floats) -> Floats:
        half: Floats = (d * np.float32(1 / search.unit) * unit).astype(np.float16).astype(np.float32)
        half *= shrink * np.float32(search.unit)
        return half

    def scales() -> Floats:
        scale: Floats = (d * (2 * number + 1)).reshape(-1)
        return scale

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
