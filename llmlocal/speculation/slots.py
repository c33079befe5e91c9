"""Proposals for several sequences that are run together: the more there are, the less is left for each to gain."""

from __future__ import annotations

from collections.abc import Sequence

from .costs import Costs
from .decision import Decision
from .speculation import MOST, Speculation

MOST_TOGETHER = MOST + 1  # tokens of a run with proposals, those that are certain among them


class Slots:
    """Proposals for the sequences of an engine, by the acceptance that `decision` follows.

    For each number of sequences the costs are followed apart, in runs of so many tokens, one for each sequence, and an
    account is kept.
    """

    def __init__(self, decision: Decision) -> None:
        self._decision = decision
        self._by_number: dict[int, Decision] = {}

    def propose(self, some: Sequence[tuple[Speculation, int]], most: int) -> list[list[int]]:
        """Tokens that may come next in each of several sequences, `most` in all.

        `some`: the proposals of each, and the room that it has. Those that are likeliest to come true are taken, as
        many as are expected to be fastest.
        """
        decision, number = self._of(len(some)), len(some)
        if most < 1 or not decision.ready:
            return [[] for _ in some]
        chances = [one.chances(min(room, most)) for one, room in some]
        ranked = sorted(
            ((chance, -place, i) for i, each in enumerate(chances) for place, chance in enumerate(each)), reverse=True
        )[:most]
        if not decision.always:
            affordable = decision.affordable(len(ranked))
            _, count = decision.best([chance / number for chance, _, _ in ranked[:affordable]])
            ranked = ranked[:count]
        counts = [sum(i == own for _, _, own in ranked) for i in range(number)]
        return [one.from_text(count) for (one, _), count in zip(some, counts, strict=True)]

    def ran(self, some: Sequence[Speculation], proposed: Sequence[int], seconds: float, taken: Sequence[int]) -> None:
        """A run of all these took so long: for each, how many tokens were proposed, and how many it gave."""
        decision = self._of(len(some))
        decision.ran(sum(proposed), seconds, sum(taken) / len(some))
        single = decision.costs.single if any(proposed) else 0.0
        for one, count, tokens in zip(some, proposed, taken, strict=True):
            one.ran_beside(count, seconds, tokens, tokens * single - seconds if single else 0.0)

    def _of(self, number: int) -> Decision:
        if number not in self._by_number:
            ratios = self._decision.costs.ratios(number + 1)
            made = Decision(Costs({2: ratios[number] / ratios[number - 1]}), always=self._decision.always)
            made.acceptance, made.totals = self._decision.acceptance, self._decision.totals
            self._by_number[number] = made
        return self._by_number[number]
