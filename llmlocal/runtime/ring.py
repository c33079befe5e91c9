"""Rings of cells: layers whose attention has a window keep the last tokens only.

Position p of a sequence lies in cell p % cells of its ring, so a new token takes the place of one that is out of the
window. A sequence that becomes shorter needs the keys before its new end: the ring holds some more than the window, and
copies of former windows, checkpoints, are made where it is about to lose them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..ops.kv.kv_type import ALIGN
from .checkpoints import INTERVAL, least_useful, window_capacity
from .windows import checkpoint_cells, first_key, first_token, kept_end, ring_cells


def blocks_of(first: int, end: int) -> range:
    """The blocks of ALIGN cells that positions first .. end - 1 lie in."""
    return range(first // ALIGN, -(-end // ALIGN))


@dataclass(frozen=True, slots=True)
class KeptWindow:
    """A copy of what the layers with a window hold of positions first .. end - 1.

    `memory` (blocks, bytes of a block) has the blocks of `blocks_of`; cells of other positions in them hold anything.
    """

    first: int
    end: int
    memory: NDArray[np.uint8]

    def cut(self, end: int) -> KeptWindow:
        """The beginning of it, up to position `end`."""
        end = min(self.end, end)
        return KeptWindow(self.first, end, self.memory[: len(blocks_of(self.first, end))])


def reaching(windows: Iterable[KeptWindow], length: int, window: int | None) -> list[KeptWindow]:
    """The windows from whose ends a sequence can go on, cut to `length` tokens."""
    return [kept.cut(length) for kept in windows if window and kept_end(kept.first, kept.end, length, window)]


@dataclass(slots=True)
class _Sequence:
    """What is held of a sequence: positions from `first` on in the ring, and checkpoints by their ends.

    `wanted`: positions where a checkpoint is made besides the regular ones.
    """

    first: int = 0
    kept: dict[int, KeptWindow] = field(default_factory=dict)
    wanted: set[int] = field(default_factory=set)


class Ring:
    """Cells for layers with one window, `cells` for each of `n_seqs` sequences; without a window of the whole context.

    `starts` and `token_cells`, int64 (ubatch,), are for each token of a batch the first cell of its sequence, and the
    cell where its key and value are stored. `prefix_lengths` are those of attention: 0, cells of a ring are not shared.
    """

    def __init__(self, window: int | None, n_ctx: int, n_seqs: int, ubatch: int) -> None:
        self.window, self.cells, self._n_ctx = window, ring_cells(window, n_ctx, ubatch), n_ctx
        self.starts, self.token_cells = np.zeros(ubatch, np.int64), np.zeros(ubatch, np.int64)
        self.prefix_lengths = np.zeros(ubatch, np.int64)
        self._planes: list[NDArray[np.uint8]] = []
        self._sequences = [_Sequence() for _ in range(n_seqs)]

    def add(self, planes: Iterable[NDArray[np.uint8]]) -> None:
        """Add the memory of a layer, see `LayerCache.planes`."""
        self._planes += planes

    @property
    def block_bytes(self) -> int:
        """Bytes of ALIGN cells in all layers of the ring."""
        return sum(heads * nbytes for heads, _, nbytes in (plane.shape for plane in self._planes))

    @property
    def _capacity(self) -> int:
        """Checkpoints that each sequence keeps at most."""
        cells = checkpoint_cells(self.window, self.cells, self._n_ctx) if self.window else 0
        return window_capacity(cells // ALIGN * self.block_bytes, len(self._sequences))

    def fill(self, seqs: Sequence[int], positions: NDArray[np.int64]) -> None:
        """Place the tokens of a batch, of sequences `seqs` at `positions`."""
        if not self._planes:
            return
        n = len(seqs)
        self.starts[:n] = seqs
        self.starts[:n] *= self.cells
        self.token_cells[:n] = self.starts[:n] + positions % self.cells

    def advance(self, runs: Iterable[tuple[int, int, int]]) -> None:
        """Make room for a batch: (sequence, its length, new tokens). What it will overwrite counts as lost."""
        for seq, length, new in runs:
            s = self._sequences[seq]
            first = max(s.first, length + new - self.cells)
            if self.window and first > s.first:
                lost = range(first_token(self.window, s.first), first_token(self.window, first))
                regular = range(-(-lost.start // INTERVAL) * INTERVAL, lost.stop, INTERVAL)
                ends = sorted({*regular, *(p for p in s.wanted if p in lost)} - {0, *s.kept})
                s.wanted = {p for p in s.wanted if p >= lost.stop}
                if ends and (capacity := self._capacity):
                    for end in ends[-capacity:]:
                        self._keep(s, seq, end, capacity)
            s.first = first

    def _keep(self, s: _Sequence, seq: int, end: int, capacity: int) -> None:
        assert self.window is not None
        if len(s.kept) == capacity:
            del s.kept[least_useful(sorted(s.kept), end)]
        s.kept[end] = self._read(first_key(self.window, end), end, seq)

    def keep_at(self, position: int, seq: int) -> None:
        """Keep a checkpoint of `position` when the ring loses it."""
        if self._planes and position > 0:
            self._sequences[seq].wanted.add(position)

    def reachable(self, length: int, current: int, seq: int) -> int:
        """How many tokens `rewind` would leave of `current`, `length` at most."""
        s = self._sequences[seq]
        if length >= current or not self.window or s.first <= first_key(self.window, length):
            return min(length, current)
        return max((kept.end for kept in reaching(s.kept.values(), length, self.window)), default=0)

    def rewind(self, length: int, seq: int) -> None:
        """Go back to `length` tokens, a number that is `reachable`."""
        s = self._sequences[seq]
        s.kept = {kept.end: kept for kept in reaching(s.kept.values(), length, self.window)}
        s.wanted = {position for position in s.wanted if position <= length}
        if not length:
            s.first = 0
        elif self.window and s.first > first_key(self.window, length):
            s.first = self._write(s.kept[length], seq)

    def kept_windows(self, length: int, seq: int) -> Iterator[KeptWindow]:
        """Copies of what is held of a sequence of `length` tokens: the checkpoints, then the ring."""
        s = self._sequences[seq]
        if self._planes and length:
            yield from (s.kept[end] for end in sorted(s.kept) if end < length)
            yield self._read(s.first, length, seq)

    def reaching(self, kept: int, length: int, seq: int) -> list[KeptWindow]:
        """Of what is held of a sequence of `length` tokens, all that its first `kept` tokens can go on from."""
        return reaching(self.kept_windows(length, seq), kept, self.window)

    def restore(self, windows: Iterable[KeptWindow], seq: int) -> None:
        """Replace what is held of a sequence by `windows`: checkpoints, and one that ends where the sequence does."""
        s = self._sequences[seq] = _Sequence()
        ordered = sorted(windows, key=lambda kept: kept.end)
        if ordered:
            older = ordered[:-1][max(0, len(ordered) - 1 - self._capacity) :]
            s.kept = {kept.end: kept for kept in older}
            s.first = self._write(ordered[-1], seq)

    def _places(self, blocks: range, seq: int) -> NDArray[np.int64]:
        """Where blocks of a sequence lie in the memory of a layer."""
        each = self.cells // ALIGN
        return seq * each + np.arange(blocks.start, blocks.stop) % each

    def _read(self, first: int, end: int, seq: int) -> KeptWindow:
        places, at = self._places(blocks_of(first, end), seq), 0
        memory = np.empty((len(places), self.block_bytes), np.uint8)
        for plane in self._planes:
            heads, _, nbytes = plane.shape
            part = memory[:, at : at + heads * nbytes].reshape(-1, heads, nbytes)
            part[:] = plane[:, places].swapaxes(0, 1)
            at += heads * nbytes
        return KeptWindow(first, end, memory)

    def _write(self, kept: KeptWindow, seq: int) -> int:
        """Write a kept window to a sequence, or as much of its end as the ring holds; returns its first position."""
        blocks = blocks_of(kept.first, kept.end)[-(self.cells // ALIGN) :]
        places, memory, at = self._places(blocks, seq), kept.memory[len(kept.memory) - len(blocks) :], 0
        for plane in self._planes:
            heads, _, nbytes = plane.shape
            plane[:, places] = memory[:, at : at + heads * nbytes].reshape(-1, heads, nbytes).swapaxes(0, 1)
            at += heads * nbytes
        return max(kept.first, blocks.start * ALIGN)
