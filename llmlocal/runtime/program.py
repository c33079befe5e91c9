"""A program: kernels in the order in which threads run them, each with its argument block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..ops.program import OPERATION
from ..quant.jit.linker import address_of
from ..quant.simd.stretches import counters_at
from .buffers import aligned

if TYPE_CHECKING:
    from ..quant.jit.kernel import Kernel

Memory = NDArray[np.uint8] | NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class KernelCall:
    """A kernel and the values of its fields: addresses, counts or floats.

    `barrier`: all threads finish it before any of them goes on. `prefetch` is the range of addresses (start, end) of
    the weights that are multiplied next: threads fetch where they will begin while they wait; an empty range is none.
    """

    kernel: Kernel
    arguments: Mapping[str, int | float]
    barrier: bool = True
    prefetch: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Program:
    """Rows int64 (operations, 7) as `ops.program` reads them; `memory` keeps alive what they point to."""

    operations: NDArray[np.int64]
    memory: list[Memory] = field(default_factory=list)

    @classmethod
    def of(cls, calls: Iterable[KernelCall], memory: Iterable[Memory] = ()) -> Program:
        """The program of `calls`, in order; kernels are compiled unless the cache holds them.

        The caller keeps alive what the arguments point to, or passes it as `memory`. Raises TypeError for arguments
        that are not the kernel's fields.
        """
        calls, held = list(calls), list(memory)
        rows = np.zeros((len(calls), OPERATION // 8), np.int64)
        for row, call in zip(rows, calls, strict=True):
            words, kernel = call.kernel.block(**call.arguments), call.kernel
            block = aligned(8 * len(words)).view(np.int64)
            block[:] = words
            held.append(block)
            pieces = call.arguments[kernel.pieces] if kernel.pieces else 0
            stretches = block.ctypes.data + counters_at(len(kernel.fields)) if kernel.stretches else 0
            row[:] = address_of(kernel), block.ctypes.data, call.barrier, *call.prefetch, pieces, stretches
        return cls(rows, held)
