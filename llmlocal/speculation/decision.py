"""How many tokens to propose: what they are expected to gain, and an account of what proposals did gain."""

from __future__ import annotations

from .acceptance import Acceptance
from .costs import Costs
from .ngram import EarlierAnswers

MARGIN = 1.05  # expected gain below which nothing is proposed
INTEREST = 0.01  # part of a token's time that each run of a single token adds to the account: what trying may cost
CREDIT, START = 16.0, 1.0  # the most that the account holds, and what an answer begins with, in runs of one token


class Decision:
    """Decides for all sequences of an engine. With `always` everything is proposed, whether it pays or not."""

    def __init__(self, costs: Costs | None = None, *, always: bool = False) -> None:
        self.costs, self._always = costs or Costs(), always
        self.acceptance = Acceptance(), Acceptance()  # of proposals from the text itself, and from earlier answers
        self.earlier = EarlierAnswers()
        self._account = START

    def begin(self) -> None:
        """An answer begins: what earlier ones gained is not to be lost by it."""
        self._account = min(self._account, START)

    def count(self, earlier: bool, agreement: int, most: int) -> int:
        """The number of tokens, at most `most`, with the best expected speed; 0 where none is better.

        `earlier`: they come from an earlier answer.
        """
        if self._always:
            return most
        if self.costs.stale:
            return 0
        most = min(most, 2 * self.costs.largest + 1)  # larger runs are tried step by step
        expected, best, count = 1.0, MARGIN, 0
        chances, ratios = self.acceptance[earlier].chances(agreement, most), self.costs.ratios(most + 1)
        for n in range(1, most + 1):
            if ratios[n] - 1 > self._account:  # what is lost where no token comes true
                break
            expected += chances[n - 1]
            if expected / ratios[n] > best:
                best, count = expected / ratios[n], n
        return count

    def ran(self, proposed: int, seconds: float, taken: int) -> float:
        """A run of one token and `proposed` more took so long and gave `taken` tokens. Returns the seconds it saved."""
        self.costs.took(1 + proposed, seconds)
        single = self.costs.single if proposed else 0.0
        if not single:
            self._account = min(self._account + INTEREST, CREDIT)
            return 0.0
        self._account = min(self._account + taken - seconds / single, CREDIT)
        return taken * single - seconds
