"""Weights copied into memory of their own and interleaved for decode."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from ..quant.kernels.interleave import can_interleave, interleave
from ..quant.tensor import QTensor
from .program import KernelCall

ALIGN = 64


def copied_bytes(tensors: Iterable[QTensor]) -> int:
    """Bytes that a copy of `tensors` takes at most: those of matrices that can be interleaved."""
    return sum(-(-tensor.nbytes // ALIGN) * ALIGN for tensor in tensors if _fits(tensor))


class WeightCopy:
    """Room for the matrices among `tensors` that can be interleaved; `place` hands it out.

    The memory comes in huge pages where the system has them, and only when it is written.
    """

    def __init__(self, tensors: Iterable[QTensor]) -> None:
        self._memory = mmap.mmap(-1, max(copied_bytes(tensors), 1))
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):
                self._memory.madvise(mmap.MADV_HUGEPAGE)
        self._view, self._used = memoryview(self._memory), 0
        self.copies: dict[int, tuple[QTensor, QTensor]] = {}  # (original, copy) by the original's address

    def place(self, weight: QTensor) -> QTensor:
        """The copy of `weight`, still to be filled by `calls`; `weight` itself where it cannot be interleaved."""
        if not _fits(weight):
            return weight
        if weight.address not in self.copies:
            room = self._view[self._used : self._used + weight.nbytes]
            self._used += -(-weight.nbytes // ALIGN) * ALIGN
            self.copies[weight.address] = weight, replace(weight, data=room, interleaved=True)
        return self.copies[weight.address][1]

    def calls(self) -> list[KernelCall]:
        """The kernels that fill all copies."""
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
        ]


def _fits(tensor: QTensor) -> bool:
    return len(tensor.shape) > 1 and can_interleave(tensor.format, tensor.shape[-2])
