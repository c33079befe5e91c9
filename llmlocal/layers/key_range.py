"""Which keys a token attends to, for each token of a batch. Filled before each run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..runtime.batch import Batch
from ..runtime.windows import Chunk


class KeyRange:
    """Positions of the first and the last key that each token attends to, `first` and `last`, int64 (ubatch,).

    Causal: the last `window` keys, the token's own included, or those of its `Chunk`. Otherwise those of its text that
    are at most window // 2 before or after it. Without a window all of them.
    """

    def __init__(self, batch: Batch, window: int | None, causal: bool) -> None:
        self._batch, self.window, self.causal = batch, window, causal
        self.first = np.zeros(batch.ubatch, np.int64)
        self.last = batch.positions if causal else batch.last_positions
        if window and not causal:
            self.last = np.zeros(batch.ubatch, np.int64)

    def fill(self, positions: NDArray[np.int64]) -> None:
        """Compute the ranges of a batch from positions (tokens,)."""
        n = len(positions)
        if not self.window:
            return
        if isinstance(self.window, Chunk):
            self.first[:n] = positions // self.window * self.window
            return
        before = self.window - 1 if self.causal else self.window // 2
        self.first[:n] = np.maximum(positions - before, 0)
        if not self.causal:
            self.last[:n] = np.minimum(positions + before, self._batch.last_positions[:n])
