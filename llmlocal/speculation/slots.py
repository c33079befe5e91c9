"""Proposals for several sequences that are run together: the more there are, the less is left for each to gain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .costs import HOPE, Costs
from .decision import MARGIN, Decision
from .draft import Choose, DraftProposer
from .slot_drafts import SlotDrafts, Unwritten
from .speculation import MOST, Form, Speculation, allowed

MOST_TOGETHER = MOST + 1  # tokens of a run with proposals, those that are certain among them


class Slot(NamedTuple):
    """A sequence with room for so many proposals; the others as in `Speculation.propose`."""

    speculation: Speculation
    room: int
    ids: Sequence[int] = ()
    choose: Choose | None = None
    form: Form | None = None


class Slots:
    """Proposals for the sequences of an engine, by the acceptance that `decision` follows, and by a `draft`.

    For each number of sequences the costs are followed apart, in runs of so many tokens, one for each sequence, and an
    account is kept.
    """

    def __init__(self, decision: Decision, draft: DraftProposer | None = None) -> None:
        self._decision, self._draft = decision, draft
        self._by_number: dict[int, tuple[Decision, SlotDrafts | None]] = {}
        self._by_draft = False

    def propose(self, slots: Sequence[Slot], most: int) -> list[list[int]]:
        """Tokens that may come next in each of several sequences, `most` in all.

        Those that are likeliest to come true are taken, as many as are expected to be fastest.
        """
        decision, drafts = self._of(len(slots))
        self._by_draft = False
        if most < 1 or not decision.ready:
            return [[] for _ in slots]
        some = [Unwritten(slot.ids, slot.room if slot.choose else 0, slot.choose or _none) for slot in slots]
        counts, speed = self._from_texts(decision, slots, most)
        found = list[list[int]]()
        if drafts:
            found = drafts.always(some, most) if decision.always else drafts.propose(decision, some, most, speed)
            for slot, guesses in zip(slots, drafts.tried, strict=False):
                slot.speculation.guessed(guesses)
        self._by_draft = any(found)
        if not self._by_draft:
            found = [slot.speculation.from_text(count) for slot, count in zip(slots, counts, strict=True)]
        return [allowed(ids, slot.form) for ids, slot in zip(found, slots, strict=True)]

    def ran(self, some: Sequence[Speculation], proposed: Sequence[int], seconds: float, taken: Sequence[int]) -> None:
        """A run of all these took so long: for each, how many tokens were proposed, and how many it gave."""
        decision, drafts = self._of(len(some))
        saved, spent = decision.ran(sum(proposed), seconds, sum(taken) / len(some)), 0.0
        if drafts:
            spent = drafts.ran(decision, saved if self._by_draft else 0.0)
        single = decision.costs.single if any(proposed) else 0.0
        for one, count, tokens in zip(some, proposed, taken, strict=True):
            gained = tokens * single - seconds if single else 0.0
            one.ran_beside(count, seconds, tokens, gained, by_draft=self._by_draft, spent=spent)

    def _from_texts(self, decision: Decision, slots: Sequence[Slot], most: int) -> tuple[list[int], float]:
        """How many tokens to propose from each text, and the expected speed."""
        chances = [slot.speculation.chances(min(slot.room, most)) for slot in slots]
        ranked = sorted(
            ((chance, -place, i) for i, each in enumerate(chances) for place, chance in enumerate(each)), reverse=True
        )[:most]
        speed = MARGIN
        if not decision.always:
            affordable = decision.affordable(len(ranked))
            speed, count = decision.best([chance / len(slots) for chance, _, _ in ranked[:affordable]])
            ranked = ranked[:count]
        return [sum(i == own for _, _, own in ranked) for i in range(len(slots))], speed

    def _of(self, number: int) -> tuple[Decision, SlotDrafts | None]:
        if number not in self._by_number:
            ratios = self._decision.costs.ratios(number + 1)
            more = HOPE * (ratios[number] / ratios[number - 1] - 1)  # so that it is measured soon
            made = Decision(Costs(slope=more), always=self._decision.always)
            made.acceptance, made.totals = self._decision.acceptance, self._decision.totals
            self._by_number[number] = made, SlotDrafts(self._draft) if self._draft else None
        return self._by_number[number]


def _none(*_: object) -> int:
    """In place of a choice that is not made: there is no room for it."""
    raise AssertionError("a text without a choice was continued")
