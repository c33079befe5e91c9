"""The matrices of a layer's experts, wherever they lie in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..ops.prefetch_experts import STACK
from ..quant.format import Format
from ..quant.tensor import QTensor


@dataclass(frozen=True, slots=True)
class ExpertMatrices:
    """One matrix for each expert, `shape` (experts, rows, k), all in `format`.

    `addresses` (experts,) int64 are where they begin. `names` of the file's tensors: one of all experts, or one each.
    """

    names: tuple[str, ...]
    format: type[Format]
    shape: tuple[int, int, int]
    addresses: NDArray[np.int64]

    @classmethod
    def stacked(cls, tensor: QTensor) -> ExpertMatrices:
        """The matrices of one tensor (experts, rows, k)."""
        count, rows, k = tensor.shape
        step = rows * tensor.format.row_bytes(k)
        addresses = tensor.address + step * np.arange(count, dtype=np.int64)
        return cls((tensor.name,), tensor.format, (count, rows, k), addresses)

    @classmethod
    def single(cls, tensors: Sequence[QTensor]) -> ExpertMatrices:
        """The matrices of tensors (rows, k), one for each expert, all of one shape and format."""
        rows, k = tensors[0].shape
        addresses = np.array([tensor.address for tensor in tensors], np.int64)
        return cls(tuple(t.name for t in tensors), tensors[0].format, (len(tensors), rows, k), addresses)

    @property
    def matrix_bytes(self) -> int:
        """Bytes of the matrix of one expert."""
        _, rows, k = self.shape
        return rows * self.format.row_bytes(k)

    def part(self, first: int, last: int) -> ExpertMatrices:
        """Rows first .. last - 1 of each matrix."""
        count, _, k = self.shape
        addresses = self.addresses + first * self.format.row_bytes(k)
        return ExpertMatrices(self.names, self.format, (count, last - first, k), addresses)


class ExpertLinear(NamedTuple):
    """Linear layers of experts: products are multiplied by `scales` (experts,), then `biases` (experts, rows) added."""

    weights: ExpertMatrices
    biases: QTensor | None = None
    scales: QTensor | None = None


class StackTable:
    """The stacks that experts chosen by one router multiply with, as `ops.prefetch_experts` reads them.

    The router comes before they are known: `add` each when its product is recorded.
    """

    MOST = 8

    def __init__(self) -> None:
        self.memory = np.zeros(1 + STACK // 8 * self.MOST, np.int64)

    def add(self, matrices: ExpertMatrices) -> None:
        """One more stack; those after the first `MOST` are left out."""
        n = int(self.memory[0])
        if n < self.MOST:
            self.memory[1 + 2 * n : 3 + 2 * n] = matrices.addresses.ctypes.data, matrices.matrix_bytes
            self.memory[0] = n + 1
