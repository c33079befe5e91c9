"""Proposals of a draft, a smaller model that continues the text: what they cost and whether they are worth it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any, Protocol

from .acceptance import Acceptance
from .costs import median
from .decision import ANY, Decision
from .rest import Rest

CONFIDENCES = (0.0, 0.3, 0.5, 0.7, 0.9, 0.97)  # the least of each class: the draft's probability of its own token
BY_CONFIDENCE = (0.2, 0.4, 0.6, 0.75, 0.85, 0.95)  # first guess of the chance in each class
BY_ITSELF = (0.8,)  # the first guess of the chance of any proposal
NEAR = 2  # unread tokens that belong to a proposal; more of them are read before it, in pieces
FIRST_PIECE, PIECE = 16, 256  # tokens of a text that are read in one step: the first time, and once it was measured
ENDLESS = 1 << 20  # tokens
MOST_ALWAYS = 7  # tokens that are proposed where it is not asked what pays
REMEMBERED = 15  # durations
# Of a token's time, what reading one among few and among many is taken for, as long as it was not measured.
READ_SHARES = (0.8, 0.3)
PROMPT_SHARE = 0.25  # of the time that the model read a prompt for: what reading it in the draft may cost besides

Choose = Callable[[Any, Sequence[int]], int]  # logits (n_vocab,), and what was proposed before: the next id
Guess = tuple[int, float]  # a token, and how probable it was to the draft


class Draft(Protocol):
    """A model that continues texts; ids in, ids out."""

    @property
    def name(self) -> str:
        """For reports."""

    @property
    def share(self) -> float:
        """What a token costs at first guess, in runs of the other model."""

    def unread(self, ids: Sequence[int]) -> int:
        """How many tokens of a text have to be read before it is continued, at least 1."""

    def read(self, ids: Sequence[int], most: int) -> int:
        """Read at most `most` tokens of a text, never its last one; returns how many it were."""

    def continuations(self, texts: Sequence[Sequence[int]], choose: Sequence[Choose]) -> Iterator[list[Guess | None]]:
        """Tokens after each of several texts, one of each by one run; None from where nothing follows on."""


class DraftProposer:
    """A draft for all sequences of an engine, what it costs, and how often it was right.

    While it does not pay it rests for a number of runs, the longer the more often that was so; then it is tried again.
    `clock` gives seconds.
    """

    def __init__(self, draft: Draft, clock: Callable[[], float] = perf_counter) -> None:
        self.draft, self._clock = draft, clock
        self._singles: deque[float] = deque(maxlen=REMEMBERED)  # seconds of a token
        # Seconds for each token among few, and among many.
        self._reads = tuple(deque[float](maxlen=REMEMBERED) for _ in READ_SHARES)
        self._sure, self._any = Acceptance(CONFIDENCES, BY_CONFIDENCE), Acceptance(ANY, BY_ITSELF)
        self.tried: list[Guess] = []  # what it said last
        self._rest = Rest()
        self._allowance = 0.0  # seconds
        self._spent = self._allowed = 0.0  # seconds since the last run, and those of them that were allowed

    def begin(self, seconds: float) -> None:
        """An answer begins, the prompt of which the model has read in so many seconds."""
        self._allowance += PROMPT_SHARE * seconds

    def end(self) -> None:
        """An answer has ended: what is left of the time for its prompt is not for others."""
        self._allowance = 0.0

    def ran(self, decision: Decision, saved: float) -> float:
        """The model has run once more, and proposals of the draft saved so many seconds of it.

        Returns the seconds that reading and proposing took since the run before; they are taken from the account.
        """
        spent = self.settle(decision)
        if self._rest.ran(saved - spent):
            self.forget()
        return spent

    def forget(self) -> None:
        """What it was right in so far counts no more: it is tried again."""
        self._sure.forget()
        self._any.forget()

    def settle(self, decision: Decision) -> float:
        """The seconds that reading and proposing took since the last time, after what is not allowed was paid."""
        spent, allowed = self._spent, self._allowed
        self._spent = self._allowed = 0.0
        decision.pay(spent - allowed)
        return spent

    def learn(self, sure: float, *, came_true: bool) -> None:
        """Whether a token came true that had the probability `sure`, also where it was not checked."""
        self._sure.saw(sure, came_true)
        self._any.saw(0.0, came_true)

    def chance(self, sure: float | None = None) -> float:
        """The chance of a token with the probability `sure`, of any by default."""
        return self._any.chance(0.0) if sure is None else self._sure.chance(sure)

    def costs(self, decision: Decision, ids: Sequence[int], most: int, speed: float, before: int = 1) -> list[float]:
        """What 1, 2 ... proposals cost in runs of one token; empty where they should not be made.

        They should if the expected speed of a run of `before` tokens and proposals is above `speed`. Reads a piece of
        the text first where much of it is unread.
        """
        if self._rest or most < 1:
            return []
        single = decision.costs.single
        unread = self.draft.unread(ids)
        token = self.token(single)
        reading = self._reading(unread if unread <= NEAR else 1, single)
        beside = [(reading + i * token) / single for i in range(most)]
        chances = self._any.chances(0, most)
        expected, count = decision.best(chances, beside, before)
        if not count:
            self._rest.begin()
        if not count or expected <= speed or (unread > NEAR and not self.read_piece(decision, ids, unread)):
            return []
        affordable = decision.affordable(most, beside, before)
        expected, count = decision.best(chances[:affordable], beside, before)
        return beside[:affordable] if count and expected > speed else []

    def propose(
        self, decision: Decision, ids: Sequence[int], beside: Sequence[float], choose: Choose, before: int = 1
    ) -> list[int]:
        """Tokens after the text: as many as `beside` has costs for, fewer where the draft becomes unsure."""
        ratios = decision.costs.ratios(len(beside) + before + 1)[before - 1 :]
        found: list[tuple[int, float]] = []
        chance, expected = 1.0, ratios[0]
        speeds, usual = [1.0], self._any.chance(0.0)
        for id, sure in self._continued(ids, choose):
            found.append((id, sure))
            n = len(found)
            chance *= self._sure.chance(sure)
            expected += chance
            speeds.append(expected / (ratios[n] + beside[n - 1]))
            if n == len(beside):
                break
            more = beside[n] - beside[n - 1] + ratios[n + 1] - ratios[n]
            if chance * usual < max(speeds[-1], 1.0) * more:
                break
        # What was spent on the last ones is spent: whether checking them pays is another question.
        spent = beside[len(found) - 1] if found else 0.0
        keep, expected, chance, best = 0, ratios[0], 1.0, ratios[0] / (ratios[0] + spent)
        for n, (_, sure) in enumerate(found, 1):
            chance *= self._sure.chance(sure)
            expected += chance
            if (speed := expected / (ratios[n] + spent)) > best:
                keep, best = n, speed
        return self._try(found)[:keep]

    def always(self, ids: Sequence[int], most: int, choose: Choose) -> list[int]:
        """At most `most` tokens after the text, whether they pay or not."""
        self.read_all(ids)
        found: list[Guess] = []
        if most > 0:
            for guess in self._continued(ids, choose):
                found.append(guess)
                if len(found) == min(most, MOST_ALWAYS):
                    break
        return self._try(found)

    def read_all(self, ids: Sequence[int]) -> None:
        """Read a text up to its last tokens, whatever that costs."""
        while (unread := self.draft.unread(ids)) > NEAR:
            self._timed_read(ids, min(PIECE, unread - 1))

    def rounds(
        self, texts: Sequence[Sequence[int]], choose: Sequence[Choose], most: int
    ) -> Iterator[tuple[list[Guess | None], float]]:
        """At most `most` tokens after each of several texts, one of each at a time, and the seconds that they took."""
        guesses = self.draft.continuations(texts, choose)
        for _ in range(most):
            begun = self._clock()
            some = next(guesses, None)
            seconds = self._clock() - begun
            self._spent += seconds
            if some is None:
                return
            yield some, seconds

    def _try(self, found: Sequence[Guess]) -> list[int]:
        self.tried = list(found)
        return [id for id, _ in found]

    def _continued(self, ids: Sequence[int], choose: Choose) -> Iterator[Guess]:
        """Tokens after a text; the first takes a run of what is unread, each other a run of one."""
        tokens = self.draft.unread(ids)
        for (guess,), seconds in self.rounds([ids], [choose], ENDLESS):
            if guess is None:
                return
            self._took(tokens, seconds)
            tokens = 1
            yield guess

    def _took(self, tokens: int, seconds: float) -> None:
        if tokens == 1:
            self._singles.append(seconds)
        else:
            self._reads[tokens > NEAR].append(seconds / tokens)

    def token(self, single: float) -> float:
        """Seconds of a token, where the model takes `single` for one."""
        return median(self._singles) if self._singles else self.draft.share * single

    def _reading(self, tokens: int, single: float) -> float:
        """Seconds to read so many tokens in one run."""
        token = self.token(single)
        if tokens == 1:
            return token
        many = tokens > NEAR
        measured = self._reads[many]
        return max(token, tokens * (median(measured) if measured else READ_SHARES[many] * token))

    def _timed_read(self, ids: Sequence[int], most: int) -> float:
        begun = self._clock()
        tokens = self.draft.read(ids, most)
        seconds = self._clock() - begun
        self._spent += seconds
        if tokens > 1:
            self._took(tokens, seconds)
        return seconds

    def read_piece(self, decision: Decision, ids: Sequence[int], unread: int) -> bool:
        """Read a piece of the text, if reading all of it is affordable. Returns whether it is near its end now."""
        single = decision.costs.single
        if self._reading(unread, single) > self._allowance + max(decision.account, 0.0) * single:
            return False
        piece = PIECE if self._reads[True] else FIRST_PIECE
        seconds = self._timed_read(ids, min(piece, unread - 1))
        allowed = min(self._allowance, seconds)
        self._allowance -= allowed
        self._allowed += allowed
        return self.draft.unread(ids) <= NEAR
