"""Whether to propose tokens, and how many: what they are expected to gain, and an account of what they did gain.

The modes: `auto` proposes where it pays, `ngram` proposes what the text offers whether it pays or not, `off` nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .acceptance import Acceptance
from .costs import Costs
from .ngram import NgramProposer

MODES = ("auto", "off", "ngram")
MOST = 15  # tokens of a proposal
MARGIN = 1.05  # expected gain below which nothing is proposed
INTEREST = 0.01  # part of a token's time that each run of a single token adds to the account: what trying may cost
CREDIT, START = 4.0, 1.0  # the most that the account holds, and what it begins with, in runs of a single token


@dataclass(frozen=True, slots=True)
class Report:
    """What proposals did for an answer: how many tokens were `proposed`, and how many of them `accepted`.

    `gain` is how many times as fast the answer was as token by token, by the time that a single token took. `resting`
    says why nothing can be proposed, if so.
    """

    proposed: int = 0
    accepted: int = 0
    gain: float = 1.0
    resting: str = ""


NOTHING = Report()


class Speculation:
    """Proposals for one sequence, answer after answer.

    `most` is the largest number of tokens of a run that gives each token the logits that it would have alone. With
    `always` everything that can be proposed is, whether it pays or not.
    """

    def __init__(self, most: int, costs: Costs | None = None, *, always: bool = False, resting: str = "") -> None:
        self.costs, self._most, self._always = costs or Costs(), min(most - 1, MOST), always
        self._proposer, self._acceptance = NgramProposer(), Acceptance()
        self._resting, self._account = resting, START
        self._proposed = self._accepted = 0
        self._seconds = self._saved = 0.0

    @property
    def works(self) -> bool:
        """Whether anything can be proposed at all."""
        return not self._resting and self._most > 0

    def begin(self, ids: Sequence[int]) -> None:
        """An answer to the prompt `ids` begins."""
        self._proposed = self._accepted = 0
        self._seconds = self._saved = 0.0
        if self.works:
            self._proposer.read(ids)

    def propose(self, room: int) -> list[int]:
        """Tokens that may come next, at most `room`; none where it would not pay."""
        most = min(room, self._most)
        if most < 1 or not self.works or not self._proposer.agreement:
            return []
        return self._proposer.proposal(most if self._always else self._worthwhile(most))

    def _worthwhile(self, most: int) -> int:
        """The number of tokens with the best expected speed, 0 where none is better."""
        if self._account < 0 or self.costs.stale:
            return 0
        most = min(most, 2 * self.costs.largest + 1)  # larger runs are tried step by step
        expected, best, count = 1.0, MARGIN, 0
        chances, ratios = self._acceptance.chances(self._proposer.agreement, most), self.costs.ratios(most + 1)
        for n in range(1, most + 1):
            expected += chances[n - 1]
            if expected / ratios[n] > best:
                best, count = expected / ratios[n], n
        return count

    def ran(self, proposed: int, seconds: float, taken: Sequence[int]) -> None:
        """A run of one token and `proposed` more took so long, and the tokens `taken` came of it, at least one."""
        self.costs.took(1 + proposed, seconds)
        self._seconds += seconds
        self._proposed += proposed
        self._accepted += len(taken) - 1
        single = self.costs.single
        if proposed and single:
            self._saved += len(taken) * single - seconds
            self._account = min(self._account + len(taken) - seconds / single, CREDIT)
        elif not proposed:
            self._account = min(self._account + INTEREST, CREDIT)
        self.took(taken)

    def took(self, ids: Sequence[int]) -> None:
        """Tokens of the answer, whatever they came from."""
        if not self.works:
            return
        for id in ids:
            agreement = self._proposer.agreement
            came_true = self._proposer.push(id)
            if came_true is not None:
                self._acceptance.saw(agreement, came_true)

    @property
    def report(self) -> Report:
        """Of the answer so far."""
        gain = (self._seconds + self._saved) / self._seconds if self._seconds > 0 else 1.0
        return Report(self._proposed, self._accepted, gain, self._resting)
