"""Recurrent states of sequences: what layers such as a short convolution carry from one token to the next.

A slot has room for one state of every layer. A run reads the state of a sequence from one slot and writes the new one
to another or to the same; a slot that is not written again is a checkpoint, so keeping one and going back to it copies
nothing. Slot 0 is the state before the first token: zeros that are never written. A run of proposed tokens, some of
which may have to be taken back, writes the state after each of them to a slot of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .buffers import CACHE_LINE, aligned
from .checkpoints import INTERVAL, between_slots, capacity, least_useful, stops, verified_tokens
from .graph import Value

ZEROS = 0  # the slot of the state before the first token


@dataclass(slots=True)
class StateLayer:
    """The states of one layer, float32: slot i starts at byte i * `slot_bytes` of `memory`."""

    slot_bytes: int
    memory: Value
    slots: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), np.uint8))


@dataclass(slots=True)
class _Sequence:
    """The slots of a sequence: `live` holds its current state, `kept` the checkpoints by position.

    `passed`: the states after each token of the last run by position, where it may be taken back. Those in shared
    slots hold until the next run.
    """

    slots: range
    live: int = ZEROS
    kept: dict[int, int] = field(default_factory=dict)
    passed: dict[int, int] = field(default_factory=dict)
    wanted: int = 0  # a position where a checkpoint is kept besides the regular ones

    def segments(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """(start, end, slot to read, slot to write) of the pieces between checkpoints; the state moves with them."""
        kept = stops(start, end, self.wanted)
        for stop in kept if kept[-1:] == [end] else [*kept, end]:
            source, self.live = self.live, self._target(stop, stop in kept)
            if stop in kept:
                self.kept[stop] = self.live
            yield start, stop, source, self.live
            start = stop

    def singles(self, start: int, end: int, between: list[int]) -> Iterator[tuple[int, int, int, int]]:
        """As `segments`, one for each token; the first state is written to a slot of the sequence, others `between`."""
        kept = stops(start, end, self.wanted)[:1]  # there is room for one beside the first
        for stop in range(start + 1, end + 1):
            source, own = self.live, stop in kept or stop == start + 1
            self.live = self._target(stop, stop in kept) if own else between.pop()
            self.passed[stop] = self.live
            if stop in kept:
                self.kept[stop] = self.live
            yield stop - 1, stop, source, self.live

    def _target(self, position: int, keep: bool) -> int:
        """The slot to write next: the current one, unless it is a checkpoint or `keep` asks for a new one."""
        if not keep and self.live in self.slots and self.live not in self.kept.values():
            return self.live
        if keep and len(self.kept) == len(self.slots) - 1:
            del self.kept[least_useful(sorted(self.kept), position)]
        taken = {self.live, *self.kept.values(), *self.passed.values()}
        return next(slot for slot in self.slots if slot not in taken)


class StateCache:
    """Slots for `n_seqs` sequences. Models without recurrent layers have none, and pay nothing.

    Kernels read which slots a run uses: `runs` is the address of their number; run r has the segments
    run_starts[r] .. run_starts[r + 1] - 1; a segment is int64 (first row, end row, slot to read, slot to write), rows
    counted in the batch. Segments of one run follow each other, so one thread goes through them in order.
    """

    def __init__(self, n_seqs: int, ubatch: int, verified: int = 1) -> None:
        """`verified`: the most tokens of a run that may be taken back, if memory allows it."""
        self.layers: list[StateLayer] = []
        self._n_seqs, self._verified = n_seqs, verified
        self._between = range(0)  # slots that all sequences share, for states between tokens that are verified
        self._sequences: list[_Sequence] = []
        self._runs = np.zeros(1, np.int64)
        self._run_starts = np.zeros(n_seqs + 1, np.int64)
        self._segments = np.zeros((3 * n_seqs + ubatch // INTERVAL + verified, 4), np.int64)

    def add_layer(self, floats: int) -> StateLayer:
        """One more layer, with a state of `floats` numbers for each sequence."""
        slot_bytes = -(-4 * floats // CACHE_LINE) * CACHE_LINE
        self.layers.append(StateLayer(slot_bytes, Value(floats, slot_bytes)))
        return self.layers[-1]

    def arguments(self, layer: StateLayer) -> dict[str, Any]:
        """Fields of the kernels that read and write the states of a layer."""
        return {
            "runs": self._runs.ctypes.data,
            "run_starts": self._run_starts.ctypes.data,
            "segments": self._segments.ctypes.data,
            "state": layer.memory,
            "slot_bytes": layer.slot_bytes,
        }

    def allocate(self) -> None:
        """Make room for all layers; call it when the last one is added, and before the graph is finished."""
        each = capacity(self.state_bytes, self._n_seqs) + 1
        self._sequences = [_Sequence(range(1 + i * each, 1 + (i + 1) * each)) for i in range(self._n_seqs)]
        own = 1 + self._n_seqs * each
        self._between = range(own, own + between_slots(self.state_bytes, self._verified, self._n_seqs))
        for layer in self.layers:
            layer.slots = aligned(self._between.stop * layer.slot_bytes).reshape(-1, layer.slot_bytes)
            layer.memory.address = layer.slots.ctypes.data

    @property
    def state_bytes(self) -> int:
        """Bytes of one state of all layers."""
        return sum(layer.slot_bytes for layer in self.layers)

    @property
    def verified(self) -> int:
        """The most tokens of a run that may be taken back, those of all sequences together."""
        return verified_tokens(self.state_bytes, self._verified)

    def plan(self, runs: Sequence[tuple[int, int, int]], *, verify: bool = False) -> None:
        """Choose the slots for the next run of the program: (sequence, its length, new tokens) in the batch's order.

        `verify`: the sequences may go back to each of the new tokens, `verified` in all.
        """
        if not self.layers:
            return
        resting, between = {s.live for s in self._sequences}, list[int]()
        for s in self._sequences:
            s.passed = {}
        if verify:
            between = [slot for slot in self._between if slot not in resting]
        row = count = 0
        for r, (seq, length, new) in enumerate(runs):
            s = self._sequences[seq]
            verified = verify and new > 1
            pieces = s.singles(length, length + new, between) if verified else s.segments(length, length + new)
            for start, end, source, target in pieces:
                self._segments[count] = row + start - length, row + end - length, source, target
                count += 1
            row += new
            self._runs[0], self._run_starts[r + 1] = r + 1, count

    def keep_at(self, position: int, seq: int) -> None:
        """Keep a checkpoint when the sequence passes `position`."""
        if self.layers:
            self._sequences[seq].wanted = position

    def rewind(self, length: int, current: int, seq: int) -> int:
        """Go back from `current` tokens to `length` or the last checkpoint before; returns how many tokens are left."""
        if not self.layers or length >= current:
            return min(length, current)
        s = self._sequences[seq]
        length = self.reachable(length, current, seq)
        s.kept = {position: slot for position, slot in s.kept.items() if position <= length}
        s.live = {**s.kept, **s.passed}.get(length, ZEROS)
        return length

    def reachable(self, length: int, current: int, seq: int) -> int:
        """How many tokens `rewind` would leave."""
        if not self.layers or length >= current:
            return min(length, current)
        s = self._sequences[seq]
        return max((position for position in (*s.kept, *s.passed) if position <= length), default=0)

    def stored(self, current: int, seq: int) -> dict[int, list[NDArray[np.uint8]]]:
        """All states of a sequence of `current` tokens by position, the current one too: a view for each layer."""
        if not self.layers or not current:
            return {}
        s = self._sequences[seq]
        found = {**s.kept, current: s.live}
        return {position: [layer.slots[found[position]] for layer in self.layers] for position in sorted(found)}

    def restore(self, states: Mapping[int, NDArray[np.uint8]], seq: int) -> None:
        """Replace the checkpoints of a sequence by `states` (state_bytes,), the last ones if there are too many.

        The sequence goes on from the last one.
        """
        if not self.layers:
            return
        s = self._sequences[seq]
        s.passed = {}
        s.kept = dict(zip(sorted(states)[-(len(s.slots) - 1) :], s.slots, strict=False))
        for position, slot in s.kept.items():
            at = 0
            for layer in self.layers:
                layer.slots[slot] = states[position][at : at + layer.slot_bytes]
                at += layer.slot_bytes
        s.live = s.kept[max(s.kept)] if s.kept else ZEROS
