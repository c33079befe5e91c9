"""A draft in the model's own engine: the block of its file that predicts further tokens (MTP), or its assistant."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ..engine import Engine
from ..gguf import GGUFFile
from ..model_info.work import EMBEDDING, OUTPUT, work
from ..predictor import Pairs
from ..runtime.shared_prefixes import common_prefix
from ..speculation.draft import Choose, Guess
from .probability import probability


class MtpDraft:
    """What predicts further tokens in `engine`; `speculation.draft.Draft` says what it is for.

    `ends` are the ids after which nothing is proposed; `assistant` is the file of the predictor where it is none of the
    model. From its second proposal on it reads what it made itself in place of what the model would make, so the later
    ones are less likely to come true.
    """

    def __init__(self, engine: Engine, ends: Collection[int], assistant: GGUFFile | None = None) -> None:
        assert engine.predictor is not None
        self.name = assistant.path.stem if assistant else "MTP"
        self._engine, self._predictor, self._ends = engine, engine.predictor, ends
        # Of each sequence: a text, and from which on the pair of each of its tokens with the one before is read.
        self._held: dict[int, tuple[list[int], int]] = {}
        self.share = _share(engine, assistant or engine.gguf)

    def unread(self, ids: Sequence[int]) -> int:
        """How many tokens of a text have to be read before it is continued, at least 1."""
        if not self._predictor.reads:
            return 1
        place = self._place(ids)
        return len(ids) if place is None else max(len(ids) - 1 - place[2], 1)

    def read(self, ids: Sequence[int], most: int) -> int:
        """Read at most `most` tokens of a text, never its last one; returns how many it were."""
        if (place := self._place(ids)) is None:
            return 0
        seq, first, start = place
        if (end := min(start + most, len(ids) - 2)) <= start:
            return 0
        self._keep(seq, ids, first, start)
        states = self._predictor.states[seq, start:end]
        self._predictor.read(ids[start + 1 : end + 1], states, start - first, seq)
        self._keep(seq, ids, first, end)
        return end - start

    def continuations(self, texts: Sequence[Sequence[int]], choose: Sequence[Choose]) -> Iterator[list[Guess | None]]:
        """Tokens after each text, one of each by one run, with the block's probability; None where nothing follows."""
        parts, firsts = dict[int, Pairs](), dict[int, int]()  # by the number of the text
        for i, ids in enumerate(texts):
            place, end = self._place(ids), len(ids) - 1
            if place is not None and place[2] < end and place[0] not in (part.seq for part in parts.values()):
                seq, firsts[i], start = place
                self._keep(seq, ids, firsts[i], end)
                states = self._predictor.states[seq, start:end]
                parts[i] = Pairs(seq, ids[start + 1 :], states, start - firsts[i])
        proposed: list[list[int]] = [[] for _ in texts]
        while parts:
            made, guesses, after = self._predictor.predict_each([*parts.values()]), list[Guess | None](), {}
            results = dict(zip(parts, made, strict=True))
            for i, ids in enumerate(texts):
                guesses.append(None)
                if i in results:
                    logits, state = results[i]
                    id = choose[i](logits, proposed[i])
                    guesses[i] = id, probability(logits, id)
                    proposed[i].append(id)
                    if id not in self._ends and len(ids) + len(proposed[i]) <= self._engine.n_ctx:
                        part = parts[i]
                        after[i] = Pairs(part.seq, [id], state[None], part.at + len(part.ids) * self._predictor.reads)
            yield guesses
            parts = after

    def close(self) -> None:
        """It is part of the engine."""

    def _keep(self, seq: int, ids: Sequence[int], first: int, end: int) -> None:
        """The pairs of positions first .. end - 1 of a sequence are those of this text."""
        self._held[seq] = [*ids[: end + 1]], first

    def _place(self, ids: Sequence[int]) -> tuple[int, int, int] | None:
        """The sequence of the engine with this text, the position of the first pair, and of the next one to read.

        A pair has the position of its state; the last one is read again. None where the engine holds another text.
        """
        seq = self._sequence(ids)
        if seq is None:
            return None
        (held, first), last = self._held.get(seq, ([], 0)), len(ids) - 2
        known, start = self._predictor.first[seq], min(common_prefix(held, ids) - 1, last)
        if not self._predictor.reads:
            return (seq, 0, last) if known <= last else None
        if first < start and known <= start:
            return seq, first, start
        return seq, known, known

    def _sequence(self, ids: Sequence[int]) -> int | None:
        engine, length = self._engine, len(ids) - 1
        found = (seq for seq in range(engine.n_seqs) if engine.length(seq) == length)
        return next((seq for seq in found if engine.history(seq) == ids[:length]), None)


def _share(engine: Engine, file: GGUFFile) -> float:
    """Of the bytes that the model reads for a token, what the block and the output matrix, or another file, read."""
    tensors, metadata = engine.gguf.tensors, engine.gguf.metadata
    whole = max(work(tensors, metadata).nbytes, 1.0)
    if file is not engine.gguf:
        return work(file.tensors, file.metadata).nbytes / whole
    out = OUTPUT if OUTPUT in tensors else EMBEDDING
    prefixes = {name.split("nextn.")[0] for name in tensors if ".nextn." in name}
    own = {name: t for name, t in tensors.items() if name == out or name.startswith(tuple(prefixes))}
    return work(own, metadata).nbytes / whole
