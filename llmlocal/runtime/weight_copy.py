"""Weights copied into memory of their own: in large pages, and interleaved for decode where the format allows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

import numpy as np

from ..gguf.pages import private_memory
from ..quant.kernels.interleave import can_interleave, interleave
from ..quant.tensor import QTensor
from .program import KernelCall

ALIGN, PIECE = 64, 4 << 20


class Shaped(Protocol):
    """A tensor, or what takes memory as one."""

    @property
    def nbytes(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


def copied_bytes(tensors: Iterable[Shaped]) -> int:
    """Bytes that a copy of `tensors` takes at most: those of all matrices and stacks of matrices."""
    return sum(_aligned(tensor.nbytes) for tensor in tensors if len(tensor.shape) > 1)


class WeightCopy:
    """Room for the matrices among `tensors`, and stacks of them (experts, rows, k); `place` hands it out.

    The memory comes in huge pages where the system has them, and only when it is written.
    """

    def __init__(self, tensors: Iterable[QTensor]) -> None:
        self.memory = private_memory(max(copied_bytes(tensors), 1))
        self._view, self._used = memoryview(self.memory), 0
        self.copies: dict[int, tuple[QTensor, QTensor]] = {}  # (original, copy) by the original's address

    def place(self, weight: QTensor) -> QTensor:
        """The copy of the matrix or stack `weight`, still to be filled by `calls` and `copy_rows`.

        `weight` itself where there is no room: it is not one of `tensors`.
        """
        if weight.address not in self.copies:
            if self._used + weight.nbytes > len(self._view):
                return weight
            room = self._view[self._used : self._used + weight.nbytes]
            self._used += _aligned(weight.nbytes)
            interleaved = can_interleave(weight.format, weight.shape[-2])
            self.copies[weight.address] = weight, replace(weight, data=room, interleaved=interleaved)
        return self.copies[weight.address][1]

    def calls(self) -> list[KernelCall]:
        """The kernels that fill the interleaved copies."""
        return [
            KernelCall(
                interleave(old.format),
                {
                    "source": old.address,
                    "target": new.address,
                    "rows": old.rows,
                    "row_bytes": old.format.row_bytes(old.k),
                },
                barrier=False,
            )
            for old, new in self.copies.values()
            if new.interleaved
        ]

    def copy_rows(self, n_threads: int) -> None:
        """Fill the other copies, with `n_threads` threads."""
        pieces = [
            (new.data[start : start + PIECE], old.data[start : start + PIECE])
            for old, new in self.copies.values()
            if not new.interleaved
            for start in range(0, new.nbytes, PIECE)
        ]
        if not pieces:
            return
        from concurrent.futures import ThreadPoolExecutor  # with logging, as long as the rest of a start's own modules

        with ThreadPoolExecutor(n_threads) as threads:
            for _ in threads.map(_copy, pieces):
                pass


def _copy(piece: tuple[memoryview, memoryview]) -> None:
    target, source = (np.frombuffer(data, np.uint8) for data in piece)
    np.copyto(target, source)  # without the GIL


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGN) * ALIGN
