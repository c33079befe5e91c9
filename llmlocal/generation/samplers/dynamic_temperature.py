"""Dynamic temperature (kalomaze 2023): the temperature follows the entropy of the candidates."""

from __future__ import annotations

from math import log

import numpy as np
from numpy.typing import NDArray

from .softmax import softmax


def dynamic_temperature(logits: NDArray[np.float64], middle: float, reach: float, exponent: float) -> float:
    """A temperature within `reach` of `middle`, and not below 0, for finite logits (tokens,).

    It rises with the entropy in units of the highest that so many candidates can have, to the power of `exponent`.
    """
    if logits.size < 2:
        return middle
    probabilities = softmax(logits)
    entropy = -(probabilities * np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))).sum() / log(logits.size)
    low, high = max(0.0, middle - reach), middle + reach
    return float(low + (high - low) * max(0.0, entropy) ** exponent)
