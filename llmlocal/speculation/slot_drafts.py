"""Proposals of a draft for several sequences that are run together: one token of each by one run of the draft."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from .costs import median
from .decision import Decision
from .draft import MOST_ALWAYS, NEAR, REMEMBERED, Choose, DraftProposer, Guess
from .rest import Rest


class Unwritten(NamedTuple):
    """A text `ids` that may be continued by at most `room` tokens, which `choose` chooses."""

    ids: Sequence[int]
    room: int
    choose: Choose


class SlotDrafts:
    """A draft for one number of sequences: what its runs cost then, and when it rests.

    How often it is right is followed by `proposer`, for all numbers.
    """

    def __init__(self, proposer: DraftProposer) -> None:
        self._proposer, self._rest = proposer, Rest()
        self._rounds: deque[float] = deque(maxlen=REMEMBERED)  # seconds of a run
        self.tried: list[list[Guess]] = []  # what it said last of each text

    def always(self, some: Sequence[Unwritten], most: int) -> list[list[int]]:
        """Tokens after each text, `most` in all, whether they pay or not."""
        able = [i for i, each in enumerate(some) if each.room > 0]
        for i in able:
            self._proposer.read_all(some[i].ids)
        rounds = min(MOST_ALWAYS, -(-most // len(able))) if able else 0
        guesses, counts = self._guesses(some, able, rounds), [0] * len(some)
        turns = [i for place in range(rounds) for i in able if place < len(guesses[i])]
        for i in turns[:most]:
            counts[i] += 1
        return self._kept(guesses, counts)

    def propose(self, decision: Decision, some: Sequence[Unwritten], most: int, speed: float) -> list[list[int]]:
        """Tokens after each text, `most` in all; none if the expected speed is not above `speed`.

        Pieces of texts that the draft has not read come first.
        """
        self.tried = []
        able = [i for i, each in enumerate(some) if each.room > 0]
        if self._rest or not able:
            return []
        beside = self._beside(decision, len(able), most)
        expected, count = decision.best(self._chances(len(some), len(able), most), beside)
        if not count:
            self._rest.begin()
        able = [i for i in able if self._is_read(decision, some[i].ids)] if count and expected > speed else []
        if not able:
            return []
        beside = self._beside(decision, len(able), most)
        affordable = decision.affordable(most, beside)
        expected, count = decision.best(self._chances(len(some), len(able), affordable), beside)
        if not count or expected <= speed:
            return []
        rounds = -(-count // len(able))
        guesses = self._guesses(some, able, rounds)
        return self._kept(guesses, self._worth(decision, guesses, len(some), rounds))

    def ran(self, decision: Decision, saved: float) -> float:
        """The model has run for all, and saved so many seconds. Returns the seconds that the draft took before."""
        spent = self._proposer.settle(decision)
        if self._rest.ran(saved - spent):
            self._proposer.forget()
        return spent

    def _is_read(self, decision: Decision, ids: Sequence[int]) -> bool:
        """Whether a text is read up to its last tokens, or can be now."""
        unread = self._proposer.draft.unread(ids)
        return unread <= NEAR or self._proposer.read_piece(decision, ids, unread)

    def _beside(self, decision: Decision, able: int, most: int) -> list[float]:
        """What so many proposals cost besides the run of the model, in runs of a token of each."""
        single = decision.costs.single
        one = median(self._rounds) if self._rounds else self._proposer.token(single)
        return [-(-n // able) * one / single for n in range(1, most + 1)]

    def _chances(self, number: int, able: int, most: int) -> list[float]:
        """Of each proposal the expected tokens for each of `number` sequences, by the usual chance."""
        chance = self._proposer.chance()
        return [chance ** (i // able + 1) / number for i in range(most)]

    def _guesses(self, some: Sequence[Unwritten], able: Sequence[int], rounds: int) -> list[list[Guess]]:
        found: list[list[Guess]] = [[] for _ in some]
        texts, choose = [some[i].ids for i in able], [some[i].choose for i in able]
        for guesses, seconds in self._proposer.rounds(texts, choose, rounds):
            self._rounds.append(seconds)
            for i, guess in zip(able, guesses, strict=True):
                if guess is not None and len(found[i]) < some[i].room:
                    found[i].append(guess)
        return found

    def _worth(self, decision: Decision, guesses: Sequence[Sequence[Guess]], number: int, rounds: int) -> list[int]:
        """How many of the guesses for each sequence are to be checked; what was spent on them is spent."""
        ranked = []
        for i, some in enumerate(guesses):
            chance = 1.0
            for place, (_, sure) in enumerate(some):
                chance *= self._proposer.chance(sure)
                ranked.append((chance, -place, i))
        ranked.sort(reverse=True)
        ratios, expected = decision.costs.ratios(len(ranked) + 1), 1.0
        spent = self._beside(decision, 1, rounds)[-1]
        best, keep = 1 / (1 + spent), 0
        for n, (chance, _, _) in enumerate(ranked, 1):
            expected += chance / number
            if (speed := expected / (ratios[n] + spent)) > best:
                best, keep = speed, n
        return [sum(i == own for _, _, own in ranked[:keep]) for i in range(number)]

    def _kept(self, guesses: Sequence[list[Guess]], counts: Sequence[int]) -> list[list[int]]:
        self.tried = list(guesses)
        return [[id for id, _ in each[:count]] for each, count in zip(guesses, counts, strict=True)]
