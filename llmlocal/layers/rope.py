"""Tables that depend on the positions of a batch: rotary embedding and position scales. Filled before each run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..ops.rope import rope_table
from .rope_scaling import RopeParameters


@dataclass(slots=True)
class Rope:
    """Rotary embedding: its parameters, the order of its pairs, and the table (ubatch, 2, rotary_dim) of the batch."""

    parameters: RopeParameters
    interleaved: bool
    table: NDArray[np.float32]

    @property
    def rotary_dim(self) -> int:
        """Values of a head that are rotated."""
        return int(self.table.shape[2])

    def fill(self, positions: NDArray[np.int64]) -> None:
        """Compute the table of a batch from positions (tokens,)."""
        p = self.parameters
        self.table[: len(positions)] = rope_table(positions, p.frequencies, p.scale, self.interleaved)


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
