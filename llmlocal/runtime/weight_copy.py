"""Weights copied into memory of their own: in large pages, and interleaved for decode where the format allows it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..gguf.pages import private_memory
from ..quant.kernels.interleave import can_interleave, interleave
from ..quant.tensor import QTensor
from .program import KernelCall

if TYPE_CHECKING:
    from ..quant.jit.kernel import Kernel

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
        """The copy of the matrix or stack `weight`, still to be filled by `calls` and `pieces`.

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

    def kernels(self) -> list[Kernel]:
        """The kernels of `calls`, each once."""
        return [
            interleave(f) for f in dict.fromkeys(old.format for old, new in self.copies.values() if new.interleaved)
        ]

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

    def pieces(self) -> Pieces:
        """What is to be copied as it is: all but what `calls` fill."""
        return Pieces(
            (new.data[start : start + PIECE], old.data[start : start + PIECE])
            for old, new in self.copies.values()
            if not new.interleaved
            for start in range(0, new.nbytes, PIECE)
        )


class Pieces:
    """Pieces of memory to be copied, each given with that from which it comes."""

    def __init__(self, pieces: Iterable[tuple[memoryview, memoryview]]) -> None:
        self._left = deque(pieces)

    def copy(self, n_threads: int) -> None:
        """Copy those that no other caller has begun, with `n_threads` threads."""
        if n_threads == 1 or len(self._left) < 2:
            return self._copy_each()
        from concurrent.futures import ThreadPoolExecutor  # with logging, as long as the rest of a start's own modules

        with ThreadPoolExecutor(n_threads) as threads:
            for done in [threads.submit(self._copy_each) for _ in range(n_threads)]:
                done.result()

    def clear(self) -> None:
        """Leave the others as they are."""
        self._left.clear()

    def _copy_each(self) -> None:
        with suppress(IndexError):  # none is left
            while True:
                target, source = (np.frombuffer(data, np.uint8) for data in self._left.popleft())
                np.copyto(target, source)  # without the GIL


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGN) * ALIGN
