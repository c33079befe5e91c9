"""A draft for several answers at once, by a clock of its own: it gains where it is right, and rests where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from simulated_draft import Clock, random_text

from llmlocal.speculation.decision import Decision
from llmlocal.speculation.draft import DraftProposer
from llmlocal.speculation.slots import Slot, Slots
from llmlocal.speculation.speculation import MOST, Speculation

DEPTH = 100


class SimulatedDraft:
    """A draft that is right with the chance `right`; a run of it for all texts takes `token` seconds."""

    name = "simulated"

    def __init__(self, clock: Clock, texts: Sequence[Sequence[int]], right: float, token: float) -> None:
        self.clock, self.texts, self.right, self.share, self.token = clock, texts, right, token, token
        self.held, self._rng, self.runs = [0] * len(texts), np.random.default_rng(3), 0

    def _which(self, ids: Sequence[int]) -> int:
        return next(i for i, text in enumerate(self.texts) if text[0] == ids[0])

    def unread(self, ids: Sequence[int]) -> int:
        i = self._which(ids)
        self.held[i] = min(self.held[i], len(ids) - 1)
        return len(ids) - self.held[i]

    def read(self, ids: Sequence[int], most: int) -> int:
        n = min(most, self.unread(ids) - 1)
        self.held[self._which(ids)] += n
        self.clock.now += n * self.token / 40
        return n

    def continuations(
        self, texts: Sequence[Sequence[int]], choose: Sequence[Any]
    ) -> Iterator[list[tuple[int, float] | None]]:
        which, place = [self._which(ids) for ids in texts], 0
        while True:
            self.clock.now += self.token
            self.runs += 1
            at = [len(ids) + place for ids in texts]
            some = zip(which, at, strict=True)
            true = [self.texts[i][n] if n < len(self.texts[i]) else -1 for i, n in some]
            yield [(id if self._rng.random() < self.right else -1, self.right) for id in true]
            for i, n in zip(which, at, strict=True):
                self.held[i] = n
            place += 1


def gain(
    number: int, ratio: Callable[[int], float], right: float, token: float, later: float | None = None
) -> tuple[float, Speculation]:
    """How many times as fast texts without order are generated together as token by token.

    From the middle on the draft is right with the chance `later`.
    """
    clock, texts = Clock(), [[10_000 + i, *random_text(700, seed=i)] for i in range(number)]
    draft = SimulatedDraft(clock, texts, right, token)
    proposer = DraftProposer(draft, clock)
    decision = Decision()
    made = [Speculation(decision, MOST + 1, draft=proposer) for _ in texts]
    slots, at = Slots(decision, proposer), [DEPTH] * number
    for one, text in zip(made, texts, strict=True):
        one.begin(text[:DEPTH], DEPTH / 8)
    begun, plain = clock.now, 0.0
    while all(n < len(text) for n, text in zip(at, texts, strict=True)):
        draft.right = later if later is not None and at[0] > 350 else right
        some = [
            Slot(one, len(text) - n - 1, text[:n], lambda logits, ids: 0)
            for one, n, text in zip(made, at, texts, strict=True)
        ]
        proposed, taken = slots.propose(some, MOST + 1 - number), []
        took = ratio(number + sum(map(len, proposed)))
        clock.now += took
        for i, (one, guess) in enumerate(zip(made, proposed, strict=True)):
            hits = 0
            while hits < len(guess) and guess[hits] == texts[i][at[i] + hits]:
                hits += 1
            new = texts[i][at[i] : at[i] + hits + 1]
            at[i] += len(new)
            one.took(new)
            taken.append(len(new))
        slots.ran(made, [*map(len, proposed)], took, taken)
        plain += ratio(number) * sum(taken) / number
    return plain / (clock.now - begun), made[0]


@pytest.mark.parametrize("number", [2, 4])
def test_a_draft_that_is_right_gains(number: int) -> None:
    """One run of the draft for all; less is left to gain the more answers there are."""
    found, one = gain(number, lambda n: 1 + 0.02 * (n - 1), right=0.95, token=0.05)
    assert found > 1.6 and one.report.draft.accepted > 100 and not one.report.ngram.proposed


@pytest.mark.parametrize("token", [0.05, 0.5])
@pytest.mark.parametrize("slope", [0.02, 1.0])
@pytest.mark.parametrize("number", [2, 4])
def test_a_draft_that_is_never_right_rests(number: int, slope: float, token: float) -> None:
    found, one = gain(number, lambda n: 1 + slope * (n - 1), right=0.0, token=token)
    assert found >= 0.98 and one.report.draft.proposed < 30


def test_a_draft_that_was_wrong_is_tried_again() -> None:
    _, one = gain(3, lambda n: 1 + 0.02 * (n - 1), right=0.0, token=0.05, later=0.95)
    assert one.report.draft.accepted > 50
