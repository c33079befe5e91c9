"""Tables that depend on the positions of a batch: rotary embedding and position scales. Filled before each run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..ops.rope import rope_table
from .rope_scaling import RopeParameters

FEW = 16  # tokens whose rows are looked up
NEAR, KEPT = 64, 32  # positions whose rows are computed together, and how many such tables are kept


@dataclass(slots=True)
class Rope:
    """Rotary embedding: its parameters, the order of its pairs, and the table (ubatch, 2, rotary_dim) of the batch.

    For a few tokens, which soon come from the next positions, rows are kept: one takes as long to compute as many.
    """

    parameters: RopeParameters
    interleaved: bool
    table: NDArray[np.float32]
    _kept: dict[int, NDArray[np.float32]] = field(default_factory=dict)  # by the first position / NEAR

    @property
    def rotary_dim(self) -> int:
        """Values of a head that are rotated."""
        return int(self.table.shape[2])

    def fill(self, positions: NDArray[np.int64]) -> None:
        """Compute the table of a batch from positions (tokens,)."""
        if len(positions) > FEW:
            self.table[: len(positions)] = self._rows(positions)
            return
        for row, position in enumerate(positions.tolist()):
            self.table[row] = self._near(position // NEAR)[position % NEAR]

    def _near(self, block: int) -> NDArray[np.float32]:
        if block not in self._kept:
            if len(self._kept) == KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[block] = self._rows(np.arange(NEAR * block, NEAR * (block + 1)))
        return self._kept[block]

    def _rows(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        p = self.parameters
        return rope_table(positions, p.frequencies, p.scale, self.interleaved)


@dataclass(slots=True)
class PositionScale:
    """A factor for each token of the batch (ubatch,): 1 + scale * ln(1 + (position + ahead) // every)."""

    scale: float
    every: int
    ahead: int
    table: NDArray[np.float32]

    def fill(self, positions: NDArray[np.int64]) -> None:
        """Compute the factors of a batch from positions (tokens,)."""
        self.table[: len(positions)] = 1 + self.scale * np.log1p((positions + self.ahead) // self.every)
