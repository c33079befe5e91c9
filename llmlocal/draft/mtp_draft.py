"""A draft in the model's own file: the block that predicts further tokens (MTP)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ..engine import Engine
from ..model_info.work import EMBEDDING, OUTPUT, work
from ..speculation.draft import Choose
from .probability import probability


class MtpDraft:
    """The block of `engine` that predicts further tokens; `speculation.draft.Draft` says what it is for.

    `ends` are the ids after which nothing is proposed. From its second proposal on it reads what it made itself in
    place of what the model would make, so the later ones are less likely to come true.
    """

    name = "MTP"

    def __init__(self, engine: Engine, ends: Collection[int]) -> None:
        assert engine.predictor is not None
        self._engine, self._predictor, self._ends = engine, engine.predictor, ends
        self._text: list[int] = []  # the pair of each of its tokens with the one before is read, from `_first` on
        self._first = 0
        self.share = _share(engine)

    def unread(self, ids: Sequence[int]) -> int:
        """How many tokens of a text have to be read before it is continued, at least 1."""
        place = self._place(ids)
        return len(ids) if place is None else max(len(ids) - 1 - place[2], 1)

    def read(self, ids: Sequence[int], most: int) -> int:
        """Read at most `most` tokens of a text, never its last one; returns how many it were."""
        if (place := self._place(ids)) is None:
            return 0
        seq, first, start = place
        if (end := min(start + most, len(ids) - 2)) <= start:
            return 0
        self._keep(ids, first, start)
        states = self._predictor.states[seq, start:end]
        self._predictor.read(ids[start + 1 : end + 1], states, start - first)
        self._keep(ids, first, end)
        return end - start

    def continuation(self, ids: Sequence[int], choose: Choose) -> Iterator[tuple[int, float]]:
        """Tokens after the text, one run each, with the block's probability of each; ends where nothing follows."""
        end, place = len(ids) - 1, self._place(ids)
        if place is None or place[2] >= end:
            return
        seq, first, start = place
        self._keep(ids, first, start)
        logits, state = self._predictor.predict(ids[start + 1 :], self._predictor.states[seq, start:end], start - first)
        self._keep(ids, first, end)
        proposed: list[int] = []
        while True:
            id = choose(logits, proposed)
            yield id, probability(logits, id)
            at = end + len(proposed)
            if id in self._ends or at + 1 >= self._engine.n_ctx:
                return
            proposed.append(id)
            logits, state = self._predictor.predict([id], state[None], at - first)

    def close(self) -> None:
        """It is part of the engine."""

    def _keep(self, ids: Sequence[int], first: int, end: int) -> None:
        """The pairs of positions first .. end - 1 are those of this text."""
        self._text, self._first = [*ids[: end + 1]], first

    def _place(self, ids: Sequence[int]) -> tuple[int, int, int] | None:
        """The sequence of the engine with this text, the position of the first pair, and of the next one to read.

        A pair has the position of its state; the last one is read again. None where the engine holds another text.
        """
        seq = self._sequence(ids)
        if seq is None:
            return None
        known, last = self._predictor.first[seq], len(ids) - 2
        start = min(_shared(self._text, ids) - 1, last)
        if self._first < start and known <= start:
            return seq, self._first, start
        return seq, known, known

    def _sequence(self, ids: Sequence[int]) -> int | None:
        engine, length = self._engine, len(ids) - 1
        found = (seq for seq in range(engine.n_seqs) if engine.length(seq) == length)
        return next((seq for seq in found if engine.history(seq) == ids[:length]), None)


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two texts begin with alike."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _share(engine: Engine) -> float:
    """Of the bytes that the model reads for a token, what the block and the output matrix read, about."""
    tensors, metadata = engine.gguf.tensors, engine.gguf.metadata
    out = OUTPUT if OUTPUT in tensors else EMBEDDING
    prefixes = {name.split("nextn.")[0] for name in tensors if ".nextn." in name}
    own = {name: t for name, t in tensors.items() if name == out or name.startswith(tuple(prefixes))}
    return work(own, metadata).nbytes / max(work(tensors, metadata).nbytes, 1.0)
