"""The matrices of a layer's experts, wherever they lie in a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..ops.prefetch_experts import STACK
from ..quant.format import Format
from ..quant.kernels.interleave import MOST_LANES, can_interleave
from ..quant.tensor import QTensor


@dataclass(frozen=True, slots=True)
class ExpertMatrices:
    """One matrix for each expert, `shape` (experts, rows, k), all in `format`.

    `addresses` (experts,) int64 are where they begin, `tensors` what the file has: one of all experts, or one each.
    The rows of `interleaved` matrices are whole tiles (see `kernels.interleave`). So many experts in a row as `group`
    says have one matrix together.
    """

    tensors: tuple[QTensor, ...]
    format: type[Format]
    shape: tuple[int, int, int]
    addresses: NDArray[np.int64]
    interleaved: bool = False
    group: int = 1

    @classmethod
    def stacked(cls, tensor: QTensor) -> ExpertMatrices:
        """The matrices of one tensor (experts, rows, k)."""
        count, rows, k = tensor.shape
        step = rows * tensor.format.row_bytes(k)
        addresses = tensor.address + step * np.arange(count, dtype=np.int64)
        return cls((tensor,), tensor.format, (count, rows, k), addresses)

    @classmethod
    def single(cls, tensors: Sequence[QTensor]) -> ExpertMatrices:
        """The matrices of tensors (rows, k), one for each expert, all of one shape and format."""
        rows, k = tensors[0].shape
        addresses = np.array([tensor.address for tensor in tensors], np.int64)
        return cls(tuple(tensors), tensors[0].format, (len(tensors), rows, k), addresses)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the file's tensors."""
        return tuple(tensor.name for tensor in self.tensors)

    @property
    def matrix_bytes(self) -> int:
        """Bytes of the matrix of one expert."""
        _, rows, k = self.shape
        return rows * self.format.row_bytes(k)

    def part(self, first: int, last: int) -> ExpertMatrices:
        """Rows first .. last - 1 of each matrix."""
        count, _, k = self.shape
        addresses = self.addresses + first * self.format.row_bytes(k)
        return replace(self, shape=(count, last - first, k), addresses=addresses)

    def of_groups(self, group: int) -> ExpertMatrices:
        """The same matrices, each for `group` experts in a row."""
        count, rows, k = self.shape
        return replace(self, shape=(count * group, rows, k), addresses=np.repeat(self.addresses, group), group=group)

    def placed(self, place: Callable[[QTensor], QTensor]) -> ExpertMatrices:
        """The same matrices where `place` puts their tensors, see `runtime.weight_copy`.

        They stay where they are if they are parts of a tensor whose tiles would be cut.
        """
        first, tile = self.tensors[0], MOST_LANES * self.format.row_bytes(self.shape[2])
        cut = self.shape[1] % MOST_LANES or (self.addresses[0] - first.address) % tile
        if cut and can_interleave(self.format, first.shape[-2]):
            return self
        copies = [place(tensor) for tensor in self.tensors]
        moved = [copy.address - tensor.address for copy, tensor in zip(copies, self.tensors, strict=True)]
        addresses = self.addresses + np.repeat(np.array(moved, np.int64), self.shape[0] // len(moved))
        return replace(self, addresses=addresses, interleaved=copies[0].interleaved)


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
