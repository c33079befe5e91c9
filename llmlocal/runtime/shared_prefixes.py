"""Sequences whose first tokens have their keys and values in the cells of another sequence.

A prefix that many prompts begin with is stored once, and attention reads it once for all of them. A sequence either
lends cells or borrows them, never both. Before cells that are lent are written, one of those that borrow them gets a
copy, and lends it to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..ops.kv.kv_type import ALIGN

Copy = Callable[[int, int, int, int], None]


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two texts have in common at their beginnings. Slices are compared, each in one call."""
    most = min(len(a), len(b))
    a, b = list(a[:most]), list(b[:most])
    if a == b:
        return most
    same, different = 0, most
    while different - same > 1:
        middle = (same + different) // 2
        if a[same:middle] == b[same:middle]:
            same = middle
        else:
            different = middle
    return same


class SharedPrefixes:
    """Who borrows cells of whom: whole blocks of ALIGN cells, from the first on.

    `copy(source, target, first, end)` copies cells first .. end - 1, multiples of ALIGN, between two sequences.
    """

    def __init__(self, stride: int, copy: Copy) -> None:
        """`stride`: cells of a sequence."""
        self._stride, self._copy = stride, copy
        self._borrowed: dict[int, tuple[int, int]] = {}  # by sequence: from which other one, and how many cells

    def group(self, seq: int) -> tuple[int, int]:
        """Whose cells, and how many, a sequence reads first; those of which it is the same are read at once."""
        if not self._borrowed:
            return seq, 0
        return self._borrowed.get(seq) or (seq, self._lent(seq))

    def share(self, source: int, target: int, length: int) -> None:
        """Give sequence `target`, which is empty, the first `length` tokens of `source`: whole blocks are borrowed."""
        lender, most = self._borrowed.get(source, (source, length))
        cells, lent = min(most, length) // ALIGN * ALIGN, self._lent(lender)
        if cells / 2 <= lent < cells:  # as many as the others borrow, so that all are read at once
            cells = lent
        end = -(-length // ALIGN) * ALIGN
        if cells < end:
            self._copy(source, target, cells, end)
        self._borrow(target, lender, cells)

    def before_write(self, seq: int, first: int) -> None:
        """Tokens of a sequence from `first` on are dropped or written: their cells are neither borrowed nor lent."""
        if not self._borrowed:
            return
        if self._lent(seq) > first:
            self._hand_over(seq)
        lender, cells = self._borrowed.get(seq, (seq, 0))
        if cells > first:
            kept = first // ALIGN * ALIGN
            if kept < first:
                self._copy(lender, seq, kept, kept + ALIGN)
            self._borrow(seq, lender, kept)

    def own(self, seq: int) -> None:
        """Copy what a sequence borrows to cells of its own."""
        if seq in self._borrowed:
            lender, cells = self._borrowed[seq]
            self._copy(lender, seq, 0, cells)
            self._borrow(seq, lender, 0)

    def fill(
        self,
        seqs: Sequence[int],
        positions: NDArray[np.int64],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
    ) -> None:
        """Prepare to write the tokens of a batch, of sequences `seqs` at `positions` (tokens,), and set
        `prefix_starts` and `prefix_lengths` of attention, (tokens,) each."""
        n = len(seqs)
        if not self._borrowed:
            lengths[:n] = 0
            return
        for seq in dict.fromkeys(seqs):
            self.before_write(seq, int(positions[seqs.index(seq)]))
        groups = {seq: self.group(seq) for seq in dict.fromkeys(seqs)}
        starts[:n] = [groups[seq][0] * self._stride for seq in seqs]
        lengths[:n] = [groups[seq][1] for seq in seqs]

    def _lent(self, seq: int) -> int:
        """How many cells of a sequence others borrow."""
        return max((cells for lender, cells in self._borrowed.values() if lender == seq), default=0)

    def _hand_over(self, seq: int) -> None:
        """Another sequence lends what `seq` has lent: one that borrows the most of it."""
        others = {each: cells for each, (lender, cells) in self._borrowed.items() if lender == seq}
        heir = max(others, key=lambda each: others[each])
        self._copy(seq, heir, 0, others.pop(heir))
        rest = {each: found for each, found in self._borrowed.items() if each != heir}
        self._borrowed = rest | {each: (heir, cells) for each, cells in others.items()}

    def _borrow(self, seq: int, lender: int, cells: int) -> None:
        rest = {each: found for each, found in self._borrowed.items() if each != seq}
        self._borrowed = rest | ({seq: (lender, cells)} if cells else {})
