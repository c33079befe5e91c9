"""How many times as fast one way is as another, from rounds of both in turn: what is known, and what is in doubt.

A round is one way, the other twice, and the first again, so that a machine that slowly becomes faster or slower counts
for neither. The median of the rounds' ratios is bounded by the distribution-free interval of order statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from statistics import median, quantiles

RISK = 0.05  # that the median is outside of the interval
FEWEST = 6  # rounds that have one


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Bounds of the median ratio, which hold but for RISK; without limit where there are too few rounds."""
    n, outside, k = len(ratios), 0.0, 0
    while k < n // 2 and outside + 2 * comb(n, k) / 2**n <= RISK:
        outside += 2 * comb(n, k) / 2**n
        k += 1
    ordered = sorted(ratios)
    return (ordered[k - 1], ordered[n - k]) if k else (0.0, float("inf"))


def in_doubt(ratios: Sequence[float], limit: float) -> bool:
    """Whether it is not shown yet that the median is at least `limit`.

    A few rounds show it if all are above by more than they differ.
    """
    if len(ratios) < FEWEST:
        return len(ratios) < 2 or 2 * min(ratios) - max(ratios) < limit
    return interval(ratios)[0] < limit


def verdict(ratios: Sequence[float], limit: float) -> str:
    """What is known of the median and `limit`."""
    if not in_doubt(ratios, limit):
        return f">= {limit}"
    return f"< {limit}" if interval(ratios)[1] < limit else f"{limit}?"


def spread(ratios: Sequence[float]) -> str:
    """The median, the quartiles, and the number of rounds."""
    low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else 3 * [*ratios]
    return f"{median(ratios):.2f} x ({low:.2f} .. {high:.2f}, {len(ratios)} rounds)"
