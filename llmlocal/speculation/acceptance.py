"""How often proposals of a proposer come true, by how sure it is of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

# How many tokens of the text agree with the place that a proposal comes from, since the last one that was certain; 0
# where it is doubtful.
AGREEMENTS = (0, 1, 2, 3, 4, 6, 9, 16)  # the least of each class
FIRST_GUESS = (0.2, 0.3, 0.55, 0.7, 0.75, 0.8, 0.85, 0.9)  # of the chance in each class
GUESS_WEIGHT = 2.0  # how many proposals the first guess counts for
MEMORY = 0.96  # what an observation counts for after the next one in its class


class Acceptance:
    """Follows the chance of a proposed token, in classes of a measure of how sure its proposer is.

    Proposals that were not tried may count as well, where the text tells.
    """

    def __init__(self, classes: Sequence[float] = AGREEMENTS, first_guess: Sequence[float] = FIRST_GUESS) -> None:
        """`classes`: the least measure of each; `first_guess`: the chance in each, before anything was seen."""
        self._classes, self._first_guess = classes, first_guess
        self.forget()

    def forget(self) -> None:
        """Begin again with the first guess."""
        self._weights = [GUESS_WEIGHT] * len(self._classes)
        self._hits = [GUESS_WEIGHT * guess for guess in self._first_guess]

    def saw(self, measure: float, came_true: bool) -> None:
        """Whether a token that was proposed with this measure came true."""
        at = self._class(measure)
        self._weights[at] = MEMORY * self._weights[at] + 1
        self._hits[at] = MEMORY * self._hits[at] + came_true

    def chance(self, measure: float) -> float:
        """The chance of a token that is proposed with this measure."""
        at = self._class(measure)
        return self._hits[at] / self._weights[at]

    def chances(self, agreement: int, most: int) -> list[float]:
        """Of each of `most` tokens in a row, the chance that it and all before it come true."""
        out, chance, at, last = [], 1.0, self._class(agreement), len(self._classes) - 1
        for measure in range(agreement, agreement + most):
            if at < last and measure >= self._classes[at + 1]:
                at += 1
            chance *= self._hits[at] / self._weights[at]
            out.append(chance)
        return out

    def chances_among(self, certain: Sequence[bool], agreement: int, expected: Sequence[float] = ()) -> list[float]:
        """As `chances`, of tokens of which some are certain where those before them came true.

        `expected`: the chances of the first ones, which do not come from the proposer.
        """
        out, chance = [], 1.0
        for i, each in enumerate(certain):
            own = i >= len(expected)
            chance *= 1.0 if each else self.chance(agreement) if own else expected[i]
            agreement = 0 if each else agreement + own
            out.append(chance)
        return out

    def _class(self, measure: float) -> int:
        return max(0, bisect_right(self._classes, measure) - 1)
