"""How often proposals of a proposer come true, by how much of the text agrees with the place they come from."""

from __future__ import annotations

from bisect import bisect_right

AGREEMENTS = (2, 3, 4, 6, 9, 16)  # the least of each class
FIRST_GUESS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # of the chance in each class
GUESS_WEIGHT = 2.0  # how many proposals the first guess counts for
MEMORY = 0.96  # what an observation counts for after the next one in its class


class Acceptance:
    """Follows the chance of a proposed token. Proposals that were not tried count as well: the text tells."""

    def __init__(self) -> None:
        self._weights = [GUESS_WEIGHT] * len(AGREEMENTS)
        self._hits = [GUESS_WEIGHT * guess for guess in FIRST_GUESS]

    def saw(self, agreement: int, came_true: bool) -> None:
        """Whether a token that was proposed at this agreement came true."""
        at = _class(agreement)
        self._weights[at] = MEMORY * self._weights[at] + 1
        self._hits[at] = MEMORY * self._hits[at] + came_true

    def chance(self, agreement: int) -> float:
        """The chance of a token that is proposed at this agreement."""
        at = _class(agreement)
        return self._hits[at] / self._weights[at]

    def chances(self, agreement: int, most: int) -> list[float]:
        """Of each of `most` tokens in a row, the chance that it and all before it come true."""
        out, chance = [], 1.0
        for i in range(most):
            chance *= self.chance(agreement + i)
            out.append(chance)
        return out


def _class(agreement: int) -> int:
    return max(0, bisect_right(AGREEMENTS, agreement) - 1)
