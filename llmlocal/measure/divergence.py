"""Kullback-Leibler divergence of a model from a reference, token by token, as llama-perplexity computes it.

At every token the sum over the vocabulary of p (log p - log q), with p the reference's probabilities and q the
candidate's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..engine import Engine

BATCH = 32  # tokens whose logits are in memory at once


@dataclass(slots=True)
class Divergence:
    """Per token: `kl`, the KL divergence from the reference in nats, and `agree`, whether the top tokens are equal."""

    kl: list[float] = field(default_factory=list)
    agree: list[bool] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return float(np.mean(self.kl))

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return float(np.std(self.kl)) / sqrt(max(1, len(self.kl) - 1))

    @property
    def worst(self) -> float:
        """The 99th percentile."""
        return float(np.quantile(self.kl, 0.99))

    @property
    def largest(self) -> float:
        return max(self.kl)

    @property
    def same_best(self) -> float:
        return float(np.mean(self.agree))

    def add(self, reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> None:
        """Add tokens by the logits (tokens, n_vocab) float32 of both models."""
        for p, q in zip(
            reference, candidate, strict=True
        ):  # row by row: float64 copies of all would take hundreds of megabytes
            self.add_token(log_probabilities(p), log_probabilities(q))

    def add_token(self, log_p: NDArray[np.float64], log_q: NDArray[np.float64]) -> None:
        """Add a token by the log-probabilities (n_vocab,) float64 of the reference and of the candidate."""
        self.kl.append(float(np.dot(np.exp(log_p), log_p - log_q)))
        self.agree.append(int(log_p.argmax()) == int(log_q.argmax()))


def diverge(reference: Engine, candidate: Engine, ids: Sequence[int], found: Divergence) -> Iterator[int]:
    """Add every position of `ids`, from an empty context, to `found`; yields the number of positions done."""
    for engine in (reference, candidate):
        engine.truncate(0)
    for at in range(0, len(ids), BATCH):
        part = ids[at : at + BATCH]
        p = reference.all_logits(part)
        found.add(p, candidate.all_logits(part))
        yield at + len(part)


def log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log-softmax of logits (n_vocab,), in float64."""
    shifted = logits.astype(np.float64) - float(logits.max())
    found: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return found
