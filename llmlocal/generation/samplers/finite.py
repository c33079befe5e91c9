"""Logits have to be finite, but for tokens that are forbidden: -inf."""

from __future__ import annotations

from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from ...errors import BadFileError

Logits = NDArray[np.float32]


def check_finite(logits: Logits) -> int:
    """The id of the best of logits (n_vocab,), the lowest of equals.

    Raises BadFileError for NaN, infinity, and where all are -inf.
    """
    best = int(logits.argmax())  # the first NaN, if there is one
    if isfinite(logits[best]):
        return best
    bad = np.flatnonzero(np.isnan(logits) | (logits == inf))
    raise not_finite(logits, int(bad[0]) if bad.size else 0)


def not_finite(logits: Logits, id: int) -> BadFileError:
    """The error for token `id`, whose logit is not finite."""
    return BadFileError(
        f"logits are not finite (token {id}: {logits[id]}): the model file is damaged",
        "run `llmlocal verify` on it",
    )
