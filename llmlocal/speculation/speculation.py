"""Proposals for one sequence, and what became of them.

The modes: `auto` proposes where it pays, `ngram` proposes what the text offers and `draft` what a smaller model says,
`mtp` what a block of the model says that predicts further tokens, whether it pays or not, `off` nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import NamedTuple, Protocol

from .acceptance import Acceptance
from .decision import MARGIN, Decision, Share
from .draft import Choose, DraftProposer, Guess
from .ngram import NgramProposer

MODES = ("auto", "off", "ngram", "draft", "mtp")
MOST = 15  # tokens of a proposal


class Form(Protocol):
    """What the form of an answer says of its next tokens."""

    def follow(self, ids: Sequence[int]) -> list[bool]:
        """Of tokens that may come next, as many as the form allows: for each whether nothing else could come."""

    def expected(self) -> list[int]:
        """The text that must come next in the tokenizer's tokens, where other tokens could write it, too."""


class ProposerReport(NamedTuple):
    """Of one proposer: as `Report`, `gain` without the other proposer."""

    proposed: int = 0
    accepted: int = 0
    gain: float = 1.0


class Report(NamedTuple):
    """What proposals did for an answer: how many tokens were `proposed`, and how many of them `accepted`.

    `gain` is how many times as fast the answer was as token by token, by the time that a single token took. `resting`
    says why nothing can be proposed, if so. `ngram` and `draft` are the parts of the two proposers, `draft_name` is
    empty where there is no draft.
    """

    proposed: int = 0
    accepted: int = 0
    gain: float = 1.0
    resting: str = ""
    ngram: ProposerReport = ProposerReport()
    draft: ProposerReport = ProposerReport()
    draft_name: str = ""


NOTHING = Report()


class Speculation:
    """Proposals for a sequence, answer after answer, as many as `decision` says.

    `most` is the largest number of tokens of a run that gives each token the logits that it would have alone. Where
    the decision is always to propose, a `draft` is the only proposer.
    """

    def __init__(self, decision: Decision, most: int, resting: str = "", draft: DraftProposer | None = None) -> None:
        self.decision, self._most, self._resting = decision, min(most - 1, MOST), resting
        self._draft, self._proposer = draft, NgramProposer(decision.earlier)
        self._answer: list[int] = []
        self._begin_counting()

    def beside(self) -> Speculation:
        """Proposals for another sequence, by the same decision."""
        return Speculation(self.decision, self._most + 1, self._resting, self._draft)

    @property
    def draft(self) -> DraftProposer | None:
        """The draft, which proposes for all sequences."""
        return self._draft if self.works else None

    @property
    def works(self) -> bool:
        """Whether anything can be proposed at all."""
        return not self._resting and self._most > 0

    @property
    def largest_run(self) -> int:
        """The most tokens of a run with proposals."""
        return self._most + 1

    def begin(self, ids: Sequence[int], seconds: float = 0.0) -> None:
        """An answer to the prompt `ids` begins, which the model has read in so many seconds."""
        self._begin_counting()
        self._answer = []
        if self.works:
            self.decision.begin(seconds)
            self._proposer.read(ids)
            if self._draft:
                self._draft.begin(seconds)

    def end(self) -> None:
        """The answer has ended: later ones may repeat it."""
        if self.works and self._answer:
            self.decision.earlier.add(self._answer)
        if self._draft:
            self._draft.end()
        self._answer = []

    def propose(
        self,
        room: int,
        ids: Sequence[int] = (),
        choose: Choose | None = None,
        *,
        before: int = 1,
        form: Form | None = None,
    ) -> list[int]:
        """Tokens that may come next, at most `room`; none where it would not pay.

        A draft continues the text `ids`; `choose` is how its tokens are chosen. Without them only the text is searched.
        `before`: how many tokens have to be run in any case; `form`: that of the answer.
        """
        most = min(room, self._most + 1 - before)
        if most < 1 or not self.works or not self.decision.ready:
            return []
        draft = self._draft if choose else None
        if draft and choose and self.decision.always:
            self._by_draft = True
            found = draft.always(ids, most, choose)
            self.guessed(draft.tried)
            return allowed(found, form)
        found, speed = self._from_text(most, before, form)
        self._by_draft = False
        if draft and choose and (beside := draft.costs(self.decision, ids, most, speed, before)):
            self._by_draft = True
            found = draft.propose(self.decision, ids, beside, choose, before)
            self.guessed(draft.tried)
            return allowed(found, form)
        return found

    def guessed(self, guesses: Iterable[Guess]) -> None:
        """A draft said these of the next tokens, of which some may be proposed: the next ones tell what is right."""
        self._guesses = deque(guesses)

    def chances(self, room: int) -> list[float]:
        """Of each token that the text proposes, at most `room`, the chance that it and all before it come true."""
        proposer, decision = self._proposer, self.decision
        if not self.works or not proposer.proposes or (self._draft and decision.always):
            return []
        return decision.acceptance[proposer.from_earlier].chances(proposer.agreement, room)

    def from_text(self, count: int) -> list[int]:
        """At most `count` tokens that the text proposes."""
        return self._proposer.proposal(count) if count else []

    def ran_beside(
        self, proposed: int, seconds: float, taken: int, saved: float, *, by_draft: bool = False, spent: float = 0.0
    ) -> None:
        """As `ran`, of a run for other sequences, too, that saved so many seconds of this one; see `Slots`.

        A draft has `spent` so many before.
        """
        self._guesses.clear()
        self._seconds += seconds + spent
        self._count(by_draft, proposed, taken - 1 if proposed else 0, saved)
        if spent:
            self._count(True, 0, 0, -spent)

    def _from_text(self, most: int, before: int, form: Form | None) -> tuple[list[int], float]:
        """What to propose from the text, and the expected speed."""
        decision = self.decision
        if not decision.always:
            most = decision.affordable(most, before=before)
            if not most and form is None:
                return [], MARGIN
        found, acceptance, agreement = self._continuation(most, form)
        if decision.always or not found:
            return allowed(found, form), MARGIN
        speed, count = decision.best(acceptance.chances(agreement, len(found)), before=before)
        if form is None or not (count or self._expected):
            return found[:count], speed
        begun = perf_counter()
        certain = form.follow(found)
        decision.pay(perf_counter() - begun)
        worth = [decision.costs.more if each else 1.0 for each in certain]
        given = [decision.expected.chance(0)] * len(self._expected)
        speed, count = decision.best(acceptance.chances_among(certain, agreement, given), None, before, worth)
        return found[:count], speed

    def _continuation(self, most: int, form: Form | None) -> tuple[list[int], Acceptance, int]:
        """At most `most` tokens that may come next: those that the form expects, and what the text has behind them.

        Also the acceptance of the latter, and how many tokens before them agree.
        """
        proposer, acceptance = self._proposer, self.decision.acceptance
        expected = self._expected = form.expected() if form else []
        if not expected:
            return proposer.proposal(most), acceptance[proposer.from_earlier], proposer.agreement
        behind, agreement, earlier = proposer.behind(expected, max(most - len(expected), 0))
        return [*expected, *behind][:most], acceptance[earlier], agreement

    def ran(self, proposed: int, seconds: float, taken: int, *, before: int = 1, certain: int = 0) -> None:
        """A run of `before` tokens and `proposed` more took so long and gave `taken` tokens, at least one.

        Of these, `certain` would have needed no run of their own; see `took`.
        """
        self._guesses.clear()
        cheap = certain * (1 - self.decision.costs.more) if certain else 0.0
        saved = self.decision.ran(proposed, seconds, taken - cheap, before)
        if self._draft and self.works:
            spent = self._draft.ran(self.decision, saved if self._by_draft else 0.0)
            self._seconds += spent
            self._count(True, 0, 0, -spent)
        self._seconds += seconds
        if proposed:
            self._count(self._by_draft, proposed, taken - 1, saved)

    def took(self, ids: Sequence[int], *, certain: bool = False) -> None:
        """Tokens of the answer, whatever they came from; `certain`: nothing else could come."""
        if not self.works:
            return
        self._answer += ids
        for id in ids:
            if self._draft and self._guesses:
                guess, sure = self._guesses.popleft()
                self._draft.learn(sure, came_true=guess == id)
                if guess != id:
                    self._guesses.clear()
            if self._expected:
                if not certain:
                    self.decision.expected.saw(0, self._expected[0] == id)
                self._expected = self._expected[1:] if self._expected[0] == id else []
            proposer = self._proposer
            earlier, agreement = proposer.from_earlier, proposer.agreement
            came_true = proposer.push(id, certain=certain)
            if came_true is not None and not certain:
                self.decision.acceptance[earlier].saw(agreement, came_true)

    @property
    def report(self) -> Report:
        """Of the answer so far."""
        ngram, draft = (
            ProposerReport(share.proposed, share.accepted, self._gain(share.saved)) for share in self._shares
        )
        return Report(
            ngram.proposed + draft.proposed,
            ngram.accepted + draft.accepted,
            self._gain(sum(share.saved for share in self._shares)),
            self._resting,
            ngram,
            draft,
            self._draft.draft.name if self._draft else "",
        )

    def _count(self, by_draft: bool, proposed: int, accepted: int, saved: float) -> None:
        for share in (self._shares[by_draft], self.decision.totals[by_draft]):
            share.proposed += proposed
            share.accepted += accepted
            share.saved += saved

    def _gain(self, saved: float) -> float:
        return (self._seconds + saved) / self._seconds if self._seconds > 0 else 1.0

    def _begin_counting(self) -> None:
        self._shares = Share(), Share()  # of the text, and of the draft
        self._seconds, self._by_draft = 0.0, False
        self._guesses = deque[Guess]()  # of the draft
        self._expected = list[int]()  # tokens in which the form's text is expected


def allowed(ids: list[int], form: Form | None) -> list[int]:
    """Of proposals, those that the form of the answer allows."""
    return ids if form is None else ids[: len(form.follow(ids))]
