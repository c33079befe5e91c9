"""How sure a draft is of a token."""

from __future__ import annotations

import numpy as np

from ..engine import Logits


def probability(logits: Logits, id: int) -> float:
    """Of a token, by logits (n_vocab,) before sampling."""
    return float(1 / np.exp(logits - logits[id]).sum())
