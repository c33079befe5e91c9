"""Proposals of a draft, a smaller model that continues the text: what they cost and whether they are worth it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any, Protocol

from .acceptance import Acceptance
from .costs import median
from .decision import Decision

CONFIDENCES = (0.0, 0.3, 0.5, 0.7, 0.9, 0.97)  # the least of each class: the draft's probability of its own token
BY_CONFIDENCE = (0.2, 0.4, 0.6, 0.75, 0.85, 0.95)  # first guess of the chance in each class
ANY, BY_ITSELF = (0.0,), (0.8,)  # one class for all proposals, and the first guess of their chance
NEAR = 2  # unread tokens that belong to a proposal; more of them are read before it, in pieces
FIRST_PIECE, PIECE = 16, 256  # tokens of a text that are read in one step: the first time, and once it was measured
MOST_ALWAYS = 7  # tokens that are proposed where it is not asked what pays
REMEMBERED = 15  # durations
# Of a token's time, what reading one among few and among many is taken for, as long as it was not measured.
READ_SHARES = (0.8, 0.3)
PROMPT_SHARE = 0.25  # of the time that the model read a prompt for: what reading it in the draft may cost besides
SHORTEST_REST, LONGEST_REST = 64, 4096  # runs of the model

Choose = Callable[[Any, Sequence[int]], int]  # logits (n_vocab,), and what was proposed before: the next id


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

    def continuation(self, ids: Sequence[int], choose: Choose) -> Iterator[tuple[int, float]]:
        """Tokens after the text, one run each, with the draft's probability of each; ends where nothing follows."""


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
        self._tried: deque[tuple[int, float]] = deque()  # what it said last, with its probabilities
        self._resting, self._rest, self._gained = 0, SHORTEST_REST // 2, 0.0
        self._allowance = 0.0  # seconds
        self._spent = self._allowed = 0.0  # seconds since the last run, and those of them that were allowed

    def begin(self, seconds: float) -> None:
        """An answer begins, the prompt of which the model has read in so many seconds."""
        self._tried.clear()
        self._allowance = PROMPT_SHARE * seconds

    def ran(self, decision: Decision, saved: float) -> float:
        """The model has run once more, and proposals of the draft saved so many seconds of it.

        Returns the seconds that reading and proposing took since the run before; they are taken from the account.
        """
        spent, allowed = self._spent, self._allowed
        self._spent = self._allowed = 0.0
        decision.pay(spent - allowed)
        self._gained += saved - spent
        self._tried.clear()
        if self._resting:
            self._resting -= 1
            if not self._resting:
                self._sure.forget()
                self._any.forget()
        return spent

    def saw(self, id: int) -> None:
        """The next token of the text: whether what the draft said came true, also where it was not checked."""
        if self._tried:
            proposed, sure = self._tried.popleft()
            self._sure.saw(sure, proposed == id)
            self._any.saw(0.0, proposed == id)
            if proposed != id:
                self._tried.clear()

    def costs(self, decision: Decision, ids: Sequence[int], most: int, speed: float, before: int = 1) -> list[float]:
        """What 1, 2 ... proposals cost in runs of one token; empty where they should not be made.

        They should if the expected speed of a run of `before` tokens and proposals is above `speed`. Reads a piece of
        the text first where much of it is unread.
        """
        if self._resting or most < 1:
            return []
        single = decision.costs.single
        unread = self.draft.unread(ids)
        token = self._token(single)
        reading = self._reading(unread if unread <= NEAR else 1, single)
        beside = [(reading + i * token) / single for i in range(most)]
        chances = self._any.chances(0, most)
        expected, count = decision.best(chances, beside, before)
        if not count:
            self._rest_now()
        if not count or expected <= speed or (unread > NEAR and not self._read_piece(decision, ids, unread)):
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
        for id, sure in self._timed(self.draft.continuation(ids, choose), self.draft.unread(ids)):
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
        while (unread := self.draft.unread(ids)) > NEAR:
            self._timed_read(ids, min(PIECE, unread - 1))
        found: list[tuple[int, float]] = []
        if most > 0:
            for guess in self._timed(self.draft.continuation(ids, choose), unread):
                found.append(guess)
                if len(found) == min(most, MOST_ALWAYS):
                    break
        return self._try(found)

    def _try(self, found: Sequence[tuple[int, float]]) -> list[int]:
        self._tried = deque(found)
        return [id for id, _ in found]

    def _timed(self, guesses: Iterator[tuple[int, float]], unread: int) -> Iterator[tuple[int, float]]:
        """The same; the first takes a run of the `unread` tokens, each other a run of one."""
        tokens = unread
        while True:
            begun = self._clock()
            guess = next(guesses, None)
            seconds = self._clock() - begun
            self._spent += seconds
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

    def _token(self, single: float) -> float:
        """Seconds of a token."""
        return median(self._singles) if self._singles else self.draft.share * single

    def _reading(self, tokens: int, single: float) -> float:
        """Seconds to read so many tokens in one run."""
        token = self._token(single)
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

    def _read_piece(self, decision: Decision, ids: Sequence[int], unread: int) -> bool:
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

    def _rest_now(self) -> None:
        self._rest = SHORTEST_REST if self._gained > 0 else min(2 * self._rest, LONGEST_REST)
        self._resting, self._gained = self._rest, 0.0
