"""Programs of kernels with fixed arguments, without a recorded graph: what quantizers run on a team of threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..ops.program import OPERATION
from ..quant.jit.linker import address_of
from .graph import Program

if TYPE_CHECKING:
    from ..quant.jit.kernel import Kernel


def program_of(calls: Sequence[tuple[Kernel, Mapping[str, int]]]) -> Program:
    """Kernels one after another, each on all threads, with arguments by field; addresses stay valid while it runs."""
    blocks = [np.array(kernel.block(**fields), np.int64) for kernel, fields in calls]
    rows = np.zeros((len(calls), OPERATION // 8), np.int64)
    for row, (kernel, _), block in zip(rows, calls, blocks, strict=True):
        row[:3] = address_of(kernel), block.ctypes.data, 1
    return Program(rows, list(blocks))
