"""How probable the model found a token and its alternatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .events import Token


@dataclass(frozen=True, slots=True)
class ScoredToken(Token):
    """A token with the natural logarithm of its probability, by the model's logits alone, and the `best` ids."""

    logprob: float = 0.0
    best: tuple[tuple[int, float], ...] = ()


def scored(token: Token, logits: NDArray[np.float32], best: int) -> ScoredToken:
    """`token` with its log probability by logits (n_vocab,), and those of the `best` likeliest ids, best first."""
    wide = logits.astype(np.float64)
    logs = wide - wide.max()
    logs -= np.log(np.exp(logs).sum())
    some = np.argpartition(-logs, min(best, logs.size - 1))[:best] if best else np.zeros(0, np.intp)
    order = some[np.lexsort((some, -logs[some]))]
    pairs = tuple((int(id), float(logs[id])) for id in order)
    return ScoredToken(token.id, token.parts, token.thinking, float(logs[token.id]), pairs)
