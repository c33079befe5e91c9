"""Logits to probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def softmax(logits: F64, temperature: float = 1.0) -> F64:
    """Probabilities (n,) float64 of finite logits (n,) at a temperature above 0."""
    with np.errstate(over="ignore", under="ignore"):  # at a temperature of 1e-308 only the best is left
        powers: F64 = np.exp((logits - logits.max()) / temperature)
    powers /= powers.sum()
    return powers
