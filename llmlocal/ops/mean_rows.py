"""Means of consecutive rows: the pooled vector of each text of a batch."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def mean_rows_reference(x: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean of rows starts[i] .. starts[i + 1] - 1 of x (rows, width) for each i -> (len(starts) - 1, width)."""
    import numpy as np

    return np.stack([x[first:last].mean(axis=0) for first, last in pairwise(starts)])


@kernel("outputs starts x out width", pieces="outputs")
def mean_rows(v: InstructionSet) -> Any:
    """out (outputs, width) float32: the means of rows starts[i] .. starts[i + 1] - 1 of x (any, width) float32.

    `starts` (outputs + 1,) int64. Rows are added in order, eight columns at a time.
    """
    f32x8 = v.f32x8

    def run(counter, ith, nth, outputs, starts, x, out, width):
        count, i = v.load_i64(outputs), v.take_work(counter, 1)
        while i < count:
            first, last = v.load_i64(starts + 8 * i), v.load_i64(starts + 8 * i + 8)
            scale = v.float32(1) / v.float32(last - first)
            for c in range(0, width - 7, 8):
                sums = v.zero(f32x8)
                for r in range(first, last):
                    sums = sums + v.load(f32x8, x + 4 * (width * r + c))
                v.store(out + 4 * (width * i + c), sums * scale)
            for c in range(width // 8 * 8, width):
                total = v.float32(0)
                for r in range(first, last):
                    total += v.load_f32(x + 4 * (width * r + c))
                v.store(out + 4 * (width * i + c), total * scale)
            i = v.take_work(counter, 1)

    return run
