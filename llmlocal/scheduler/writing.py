"""One step of the answers that are being written: a token of each, and those that are certain or proposed."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np

from ..engine import Engine, Logits
from ..speculation.slots import MOST_TOGETHER, Slot, Slots
from ..speculation.speculation import Speculation
from .answer import Answer
from .counts import Counts
from .sequences import Sequences

NOT_READ = np.empty(0, np.float32)  # in place of the logits of a token that is certain


class Taken(NamedTuple):
    """How many tokens an answer got by a run, and how many of them need no logits."""

    tokens: int
    certain: int


class Writing:
    """Runs an engine for answers whose prompts have been read.

    Batches have at least `least` tokens, filled up with tokens that nobody asked for; where that is more than one, a
    token has other bits in smaller ones, and only one of each answer is run.
    """

    def __init__(self, engine: Engine, sequences: Sequences, least: int, speculation: Speculation) -> None:
        self._engine, self._sequences, self._least = engine, sequences, least
        self._slots = Slots(speculation.decision, speculation.draft)

    def step(self, answers: Sequence[Answer], counts: Counts, *, beside_reading: bool) -> None:
        """At least one token of each of the answers. One that is alone has proposals unless prompts are read, too."""
        room = self._room(len(answers))
        for answer in answers:
            room -= self._take_certain(answer, room, counts)
        answers = [answer for answer in answers if not answer.ended]
        answers.sort(key=lambda answer: self._engine.prefixes.group(answer.seq))  # attention reads those side by side
        parts = [answer.tokens.history[self._engine.length(answer.seq) :] for answer in answers]
        if not answers:
            return
        proposed = self._proposals(answers, parts, room, beside_reading=beside_reading)
        clock = perf_counter()
        rows = self._rows(answers, parts, proposed)
        seconds, taken = perf_counter() - clock, list[Taken]()
        for answer, logits, proposal in zip(answers, rows, proposed, strict=True):
            taken.append(self._take(answer, logits, proposal, counts))
        if all(each.tokens for each in taken):
            self._ran(answers, [*map(len, parts)], [*map(len, proposed)], seconds, taken, alone=not beside_reading)
        for answer in answers:
            answer.end_if_complete()

    def run(self, parts: Sequence[tuple[int, Sequence[int]]], outputs: Sequence[int]) -> Logits:
        """As `Engine.run`, with at least `least` outputs, because logits are a product of their own."""
        filled = [*outputs, *[*outputs[:1]] * (self._least - len(outputs))]
        return self._engine.run(parts, filled)[: len(outputs)]

    def _room(self, answers: int) -> int:
        """How many tokens may be run besides one of each answer."""
        steady = self._least == 1 and not self._engine.reads_whole
        return max(min(MOST_TOGETHER, self._engine.same_bits) - answers, 0) if steady else 0

    def _take_certain(self, answer: Answer, room: int, counts: Counts) -> int:
        """Take tokens that need no logits, at most `room`; returns how many it were."""
        tokens, before = answer.tokens, answer.tokens.count
        if answer.request.logprobs is None:
            while tokens.forced and tokens.count - before < room and not (answer.ended or tokens.reason):
                answer.take(NOT_READ)
        counts.generated_tokens += tokens.count - before
        answer.end_if_complete()
        return tokens.count - before

    def _proposals(
        self, answers: Sequence[Answer], parts: Sequence[Sequence[int]], room: int, *, beside_reading: bool
    ) -> list[list[int]]:
        others, alone = sum(map(len, parts)), len(answers) == 1
        room = min(room, self._engine.max_outputs - len(answers), self._engine.verifiable - others)
        slots = [
            Slot(
                answer.speculation,
                0 if len(part) > 1 and not alone else answer.tokens.room - 1,
                answer.tokens.history,
                answer.tokens.guess,
                answer.tokens,
            )
            for answer, part in zip(answers, parts, strict=True)
        ]
        if not alone:
            return self._slots.propose(slots, room)
        slot = slots[0]
        most = 0 if beside_reading else min(room, slot.room)
        return [slot.speculation.propose(most, slot.ids, slot.choose, before=others, form=slot.form)]

    def _rows(
        self, answers: Sequence[Answer], parts: Sequence[Sequence[int]], proposed: Sequence[Sequence[int]]
    ) -> list[Logits]:
        """Run the parts with what is proposed after them; for each answer logits (proposed + 1, n_vocab)."""
        seqs = [answer.seq for answer in answers]
        if not any(proposed):
            filler = [(seq, [0]) for seq in self._sequences.emptied(self._least - len(parts))]
            rows = self.run([*zip(seqs, parts, strict=True), *filler], range(len(parts)))
            return [row[None] for row in rows]
        whole = [[*part, *some] for part, some in zip(parts, proposed, strict=True)]
        ends = np.cumsum([len(part) for part in whole]).tolist()
        firsts = [end - len(some) - 1 for end, some in zip(ends, proposed, strict=True)]
        outputs = [at for first, end in zip(firsts, ends, strict=True) for at in range(first, end)]
        rows = self._engine.verify_parts([*zip(seqs, whole, strict=True)], outputs)
        return np.split(rows, np.cumsum([len(some) + 1 for some in proposed])[:-1])

    def _take(self, answer: Answer, rows: Logits, proposed: Sequence[int], counts: Counts) -> Taken:
        """Take the tokens that come of a run, one and those after it that were proposed."""
        tokens, before, certain = answer.tokens, answer.tokens.count, 0
        try:
            for logits, proposal in zip(rows, [*proposed, None], strict=True):
                certain += tokens.forced
                answer.take(self._engine.checked(logits) if proposed else logits)
                if answer.ended or tokens.reason or tokens.history[-1] != proposal:
                    break
        finally:
            if proposed:
                self._engine.truncate(len(tokens.history) - 1, answer.seq)
        taken = tokens.count - before
        counts.generated_tokens += taken
        counts.proposed_tokens += len(proposed)
        counts.accepted_tokens += max(taken - 1, 0)
        return Taken(taken, certain)

    def _ran(
        self,
        answers: Sequence[Answer],
        parts: Sequence[int],
        proposed: Sequence[int],
        seconds: float,
        taken: Sequence[Taken],
        *,
        alone: bool,
    ) -> None:
        """A run of so many tokens of each answer, and so many proposals, took so long."""
        one = answers[0].speculation
        if len(answers) > 1 and max(parts) == 1:
            self._slots.ran([a.speculation for a in answers], proposed, seconds, [each.tokens for each in taken])
        elif len(answers) == 1 and alone and self._least == 1 and parts[0] <= one.largest_run:
            one.ran(proposed[0], seconds, taken[0].tokens, before=parts[0], certain=taken[0].certain)
