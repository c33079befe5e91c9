"""Proposals for one sequence, and what became of them.

The modes: `auto` proposes where it pays, `ngram` proposes what the text offers whether it pays or not, `off` nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .decision import Decision
from .ngram import NgramProposer

MODES = ("auto", "off", "ngram")
MOST = 15  # tokens of a proposal


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
    """Proposals for a sequence, answer after answer, as many as `decision` says.

    `most` is the largest number of tokens of a run that gives each token the logits that it would have alone.
    """

    def __init__(self, decision: Decision, most: int, resting: str = "") -> None:
        self.decision, self._most, self._resting = decision, min(most - 1, MOST), resting
        self._proposer = NgramProposer(decision.earlier)
        self._answer: list[int] = []
        self._proposed = self._accepted = 0
        self._seconds = self._saved = 0.0

    def beside(self) -> Speculation:
        """Proposals for another sequence, by the same decision."""
        return Speculation(self.decision, self._most + 1, self._resting)

    @property
    def works(self) -> bool:
        """Whether anything can be proposed at all."""
        return not self._resting and self._most > 0

    def begin(self, ids: Sequence[int]) -> None:
        """An answer to the prompt `ids` begins."""
        self._proposed = self._accepted = 0
        self._seconds = self._saved = 0.0
        self._answer = []
        if self.works:
            self.decision.begin()
            self._proposer.read(ids)

    def end(self) -> None:
        """The answer has ended: later ones may repeat it."""
        if self.works and self._answer:
            self.decision.earlier.add(self._answer)
        self._answer = []

    def propose(self, room: int) -> list[int]:
        """Tokens that may come next, at most `room`; none where it would not pay."""
        most = min(room, self._most)
        if most < 1 or not self.works or not self._proposer.agreement:
            return []
        proposer = self._proposer
        return proposer.proposal(self.decision.count(proposer.from_earlier, proposer.agreement, most))

    def ran(self, proposed: int, seconds: float, taken: int) -> None:
        """A run of one token and `proposed` more took so long and gave `taken` tokens, at least one; see `took`."""
        self._saved += self.decision.ran(proposed, seconds, taken)
        self._seconds += seconds
        self._proposed += proposed
        self._accepted += taken - 1

    def took(self, ids: Sequence[int]) -> None:
        """Tokens of the answer, whatever they came from."""
        if not self.works:
            return
        self._answer += ids
        for id in ids:
            earlier, agreement = self._proposer.from_earlier, self._proposer.agreement
            came_true = self._proposer.push(id)
            if came_true is not None:
                self.decision.acceptance[earlier].saw(agreement, came_true)

    @property
    def report(self) -> Report:
        """Of the answer so far."""
        gain = (self._seconds + self._saved) / self._seconds if self._seconds > 0 else 1.0
        return Report(self._proposed, self._accepted, gain, self._resting)
