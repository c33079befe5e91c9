"""Top-n-sigma sampling (Tang et al., arXiv:2411.07641): by the distance of logits from the best, before a softmax."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def top_n_sigma(logits: NDArray[np.float64], n: float) -> NDArray[np.bool_]:
    """Which of finite logits (tokens,) lie within `n` standard deviations of the best."""
    kept: NDArray[np.bool_] = logits >= logits.max() - n * logits.std()
    return kept
