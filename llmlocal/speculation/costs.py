"""What a run of several tokens costs, in runs of a single one: followed by the durations of the runs themselves."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable

SINGLES, SEVERAL = 15, 5  # durations that are remembered: of single tokens, and of each larger size
FORGOTTEN = 128, 1024  # runs after which a cost is measured again: while only single tokens are run, and otherwise
SLOPE = 0.5  # cost of one more token where nothing was measured
AT_ONCE, LARGE = 16, 30  # tokens up to which ratios are worked out together, and of a large run
HOPE = 0.75  # of the mean cost of one more token: what it is taken for past the largest size that was measured


class Costs:
    """Seconds of a run of one token, and the ratio to it of runs of more."""

    def __init__(self, ratios: dict[int, float] | None = None, slope: float = SLOPE) -> None:
        """`ratios` by number of tokens, as `measured` gave them in an earlier process; `slope`: as SLOPE."""
        self._slope = slope
        self._single: deque[float] = deque(maxlen=SINGLES)
        self._ratios = {size: deque([ratio], maxlen=SEVERAL) for size, ratio in (ratios or {}).items()}
        self._medians = {size: median(some) for size, some in self._ratios.items()}
        self._measured_at = dict.fromkeys(self._ratios, 0)  # the number of runs before the last one of each size
        self._all = self._last_single = 0  # runs; and how many there were when a single token was run
        self.runs = 0  # of several tokens
        self._single_median: float | None = None  # of `_single` as it is
        self._fresh: dict[int, float] | None = None  # `_known`, and ratios by it
        self._lines: list[float] = []
        self._fresh_until = 0  # the number of runs up to which both hold, if all are of single tokens

    def took(self, tokens: int, seconds: float) -> None:
        """A run of so many tokens took so long."""
        self._all += 1
        if tokens > 1 or self._all > self._fresh_until:
            self._fresh, self._lines = None, []
        if tokens == 1:
            self._single.append(seconds)
            self._single_median = None
            self._last_single = self._all
        elif self._single:
            self.runs += 1
            self._measured_at[tokens] = self._all
            some = self._ratios.setdefault(tokens, deque(maxlen=SEVERAL))
            some.append(seconds / self.single)
            self._medians[tokens] = median(some)

    @property
    def single(self) -> float:
        """Seconds of a run of one token: the median of the last ones, 0 where there was none yet."""
        if self._single_median is None:
            self._single_median = median(self._single) if self._single else 0.0
        return self._single_median

    @property
    def stale(self) -> bool:
        """Whether too few single tokens were run lately to compare with."""
        return len(self._single) < SEVERAL or self._all > self._last_single + 4 * SINGLES

    @property
    def measured(self) -> dict[int, float]:
        """The ratios that were measured, by number of tokens."""
        return dict(sorted(self._medians.items()))

    @property
    def _known(self) -> dict[int, float]:
        """Those that were measured lately."""
        if self._fresh is None:
            self._fresh = self._measured_lately()
        return self._fresh

    def _measured_lately(self) -> dict[int, float]:
        resting = self._all - max(self._measured_at.values(), default=0) > FORGOTTEN[0]
        oldest = self._all - FORGOTTEN[not resting]
        fresh = {size: at for size, at in sorted(self._measured_at.items()) if at >= oldest}
        ends = (max(fresh.values()) + FORGOTTEN[0], min(fresh.values()) + FORGOTTEN[1]) if fresh else (sys.maxsize,)
        self._fresh_until = min(ends)
        return {size: self._medians[size] for size in fresh}

    def ratios(self, most: int) -> list[float]:
        """The cost of 1, 2 ... `most` tokens in runs of one, at least 1; between what was measured lately on lines.

        Past the largest of them more tokens are taken for a little cheaper, as they are in panels.
        """
        if most == 1:
            return [1.0]
        if len(self._lines) < most:
            self._lines = self._along_lines(max(most, AT_ONCE))
        return self._lines[:most]

    def _along_lines(self, most: int) -> list[float]:
        known = [(1, 1.0), *self._known.items()]
        out: list[float] = []
        below = 0
        for size in range(1, most + 1):
            below += below + 1 < len(known) and known[below + 1][0] <= size
            at, cost = known[below]
            if below + 1 < len(known):
                other, higher = known[below + 1]
                cost += (higher - cost) * (size - at) / (other - at)
            else:
                slope = HOPE * (cost - 1) / (at - 1) if at > 1 else self._slope
                cost += slope * (size - at)
            out.append(max(1.0, cost))
        return out

    @property
    def more(self) -> float:
        """The cost of one more token in a large run, in runs of one token."""
        return min((self.ratios(LARGE)[-1] - 1) / (LARGE - 1), 1.0)

    @property
    def largest(self) -> int:
        """The largest number of tokens that was measured lately."""
        return max(self._known, default=1)


def median(values: Iterable[float]) -> float:
    """The median; `statistics` has one, and is imported in ten milliseconds."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
