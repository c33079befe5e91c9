"""The fewest tokens that have a given mass together, the best first by a key: what top-p and typical sampling keep."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Ids = NDArray[np.intp]

SORTED = 256  # tokens that are sorted in any case: more are put into bins first
BITS = 46  # of a key that its bin leaves out: a bin is as wide as 1/64 of what is in it
UNSURE = 1e-9  # masses nearer than this to the limit depend on the order in which they are summed


def fewest(probabilities: F64, keys: F64, limit: float) -> Ids:
    """Ascending indices of the fewest tokens with the smallest keys whose mass reaches `limit`, at least one.

    Both are (tokens,); keys are all at least 0, or none is above it. Of equal keys the first indices are taken. To sort
    many keys takes ten times as long as to find the bin in which the limit lies, and to sort what is in that one.
    """
    if keys.size <= SORTED:
        return _by_sorting(probabilities, keys, limit)
    bins = _bins(keys)
    masses = np.bincount(bins, probabilities).cumsum()
    last = min(int(masses.searchsorted(limit)), masses.size - 1)
    before = float(masses[last - 1]) if last else 0.0
    within: Ids = (bins == last).nonzero()[0]
    within = within[keys[within].argsort(kind="stable")]
    reached = before + probabilities[within].cumsum()
    if min(abs(before - limit), np.abs(reached - limit).min()) < UNSURE:
        return _by_sorting(probabilities, keys, limit)
    chosen = bins < last
    chosen[within[: reached.searchsorted(limit) + 1]] = True
    indices: Ids = chosen.nonzero()[0]
    return indices


def _bins(keys: F64) -> NDArray[np.int64]:
    """For each key a number, at least 0, by the first bits of the key: a smaller one only where the key is smaller."""
    bits = keys.view(np.int64) >> BITS
    if keys.max() <= 0:  # of negative keys the bits grow with the distance from 0
        np.negative(bits, out=bits)
    bits -= bits.min()
    return bits


def _by_sorting(probabilities: F64, keys: F64, limit: float) -> Ids:
    indices = keys.argsort(kind="stable")
    chosen: Ids = indices[: probabilities[indices].cumsum().searchsorted(limit) + 1]
    chosen.sort()
    return chosen
