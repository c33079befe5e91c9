"""When a proposer that does not pay is tried again."""

from __future__ import annotations

SHORTEST, LONGEST = 64, 4096  # runs of the model


class Rest:
    """A proposer rests for a number of runs, the longer the more often it did not pay when it was tried."""

    def __init__(self) -> None:
        self._left, self._length, self._gained = 0, SHORTEST // 2, 0.0

    def __bool__(self) -> bool:
        """Whether it rests now."""
        return self._left > 0

    def begin(self) -> None:
        """It does not pay."""
        self._length = SHORTEST if self._gained > 0 else min(2 * self._length, LONGEST)
        self._left, self._gained = self._length, 0.0

    def ran(self, gained: float) -> bool:
        """The model has run once more, and the proposer gained so many seconds by it. Returns whether a rest ended."""
        self._gained += gained
        self._left = max(self._left - 1, -1)
        return self._left == 0
