"""Mirostat (Basu et al., arXiv:2007.14966): a feedback that keeps the surprise of the tokens near a target."""

from __future__ import annotations

from math import inf, log2
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .softmax import softmax

F64 = NDArray[np.float64]
Ids = NDArray[np.intp]
ESTIMATED_FROM = 100  # tokens by which version 1 estimates how fast probabilities fall


class Mirostat:
    """For each token: `kept` says which candidates stay, then `saw` takes the probability of the one that was drawn.

    `target` and the largest surprise that is allowed, `most`, are in bits; `rate` is how fast the latter follows.
    """

    def __init__(self, version: Literal[1, 2], target: float, rate: float) -> None:
        self.most, self._target, self._rate = 2 * target, target, rate
        self._kept = self._by_zipf if version == 1 else self._by_surprise

    def kept(self, logits: F64, n_vocab: int) -> Ids:
        """Ascending indices of the candidates among finite logits (tokens,) that stay, at least one."""
        order = np.argsort(-logits, kind="stable")
        return np.sort(order[: max(1, self._kept(softmax(logits)[order], n_vocab))])

    def saw(self, probability: float) -> None:
        """The token that was drawn had this probability among those that were kept."""
        self.most -= self._rate * (-log2(probability) - self._target)

    def _by_surprise(self, falling: F64, n_vocab: int) -> int:
        """Version 2: the tokens that surprise no more than is allowed."""
        with np.errstate(divide="ignore"):
            return int((-np.log2(falling) <= self.most).sum())

    def _by_zipf(self, falling: F64, n_vocab: int) -> int:
        """Version 1: the k for which Zipf's law expects the surprise that is allowed."""
        some = falling[:ESTIMATED_FROM]
        if some.size < 2 or some[-1] <= 0:
            some = some[some > 0]
        if some.size < 2:
            return 1
        ranks = np.log(np.arange(2, some.size + 1) / np.arange(1, some.size))
        slope = float((ranks * np.log(some[:-1] / some[1:])).sum() / (ranks**2).sum())
        if slope in (0.0, 1.0):
            return falling.size
        with np.errstate(all="ignore"):
            spread = slope - 1
            k = np.power(spread * np.exp2(self.most) / (1 - np.power(float(n_vocab), -spread)), 1 / slope)
        return int(k) if 0 <= k < inf else falling.size
