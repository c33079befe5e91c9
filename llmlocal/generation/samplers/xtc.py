"""Exclude top choices (XTC, p-e-w 2024): now and then, of several likely tokens only the least likely one stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .softmax import softmax


def xtc(logits: NDArray[np.float64], threshold: float, probability: float, draw: float) -> NDArray[np.bool_]:
    """Which of finite logits (tokens,) stay, where `draw` is a random number in [0, 1).

    With the given probability, of the tokens at least as probable as `threshold` all are excluded but the least one; of
    equal ones the last id stays.
    """
    kept = np.ones(logits.size, np.bool_)
    if draw >= probability:
        return kept
    likely = np.flatnonzero(softmax(logits) >= threshold)
    if likely.size > 1:
        kept[likely] = False
        least = likely[logits[likely] == logits[likely].min()]
        kept[least[-1]] = True
    return kept
