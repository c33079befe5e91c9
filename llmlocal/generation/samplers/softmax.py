"""Logits to probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def softmax(logits: F64) -> F64:
    """Probabilities (n,) float64 of finite logits (n,)."""
    powers: F64 = logits - logits.max()
    with np.errstate(under="ignore"):
        np.exp(powers, out=powers)
    powers /= powers.sum()
    return powers
