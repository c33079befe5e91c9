"""Rows scaled to the root mean square of other rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet
from .elementwise import row_scaler

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST = 1e-5  # mean square of a row that is divided by, at least


def match_magnitude_reference(x: Floats, like: Floats) -> Floats:
    """x times the root mean square of `like` over its own, row by row: both (tokens, width)."""
    import numpy as np

    own, wanted = ((rows * rows).mean(-1, keepdims=True) for rows in (x, like))
    matched: Floats = x * np.sqrt(wanted / np.maximum(own, LEAST))
    return matched


@kernel("tokens x like width", pieces="tokens")
def match_magnitude(v: InstructionSet) -> Any:
    """x = match_magnitude_reference(x, like) in place, both (tokens, width) float32."""
    f32x8, scale_row = v.f32x8, row_scaler(v)

    @v.jitable
    def mean_square(row, width):
        sums = v.zero(f32x8)
        for i in range(0, width - 7, 8):
            part = v.load(f32x8, row + 4 * i)
            sums = v.fma(part, part, sums)
        total = v.reduce_add(sums)
        for i in range(width // 8 * 8, width):
            total += v.load_f32(row + 4 * i) * v.load_f32(row + 4 * i)
        return total / v.float32(width)

    def run(counter, ith, nth, tokens, x, like, width):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            row, least = x + 4 * width * t, v.float32(LEAST)
            own = mean_square(row, width)
            by = v.sqrt(mean_square(like + 4 * width * t, width)) / v.sqrt(own if own > least else least)
            scale_row(row, width, by)
            t = v.take_work(counter, 1)

    return run
