"""Activation sparsity: of each row only what is far above its mean is kept (Gemma 3n)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def gaussian_topk_reference(x: Floats, deviations: float) -> Floats:
    """relu(x - (mean + deviations * standard deviation)), mean and deviation of each row of x (tokens, width)."""
    import numpy as np

    kept: Floats = np.maximum(x - x.mean(-1, keepdims=True) - deviations * x.std(-1, keepdims=True), 0)
    return kept


@kernel("tokens x width deviations", pieces="tokens")
def gaussian_topk(v: InstructionSet) -> Any:
    """x = gaussian_topk_reference(x, deviations) in place; x is float32, `deviations` a float."""
    f32x8, lane = v.f32x8, v.slice_of(0, 1)

    @v.jitable
    def mean_of(row, width, centre, power):
        """Mean of (x - centre)^power, for a power of 1 or 2."""
        sums, total = v.zero(f32x8), v.float32(0)
        for i in range(0, width - 7, 8):
            part = v.load(f32x8, row + 4 * i) - centre
            sums = v.fma(part, part, sums) if power == 2 else sums + part
        for i in range(width // 8 * 8, width):
            part = v.load_f32(row + 4 * i) - centre
            total += part * part if power == 2 else part
        return (total + v.reduce_add(sums)) / v.float32(width)

    def run(counter, ith, nth, tokens, x, width, deviations):
        count, t, nothing = v.load_i64(tokens), v.take_work(counter, 1), v.zero(f32x8)
        while t < count:
            row = x + 4 * width * t
            mean = mean_of(row, width, v.float32(0), 1)
            cut = mean + v.as_f32(deviations) * v.sqrt(mean_of(row, width, mean, 2))
            for i in range(0, width - 7, 8):
                v.store(row + 4 * i, v.maximum(v.load(f32x8, row + 4 * i) - cut, nothing))
            for i in range(width // 8 * 8, width):
                v.store(row + 4 * i, lane(v.maximum(v.splat(f32x8, v.load_f32(row + 4 * i)) - cut, nothing)))
            t = v.take_work(counter, 1)

    return run
