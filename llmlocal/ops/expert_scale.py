"""Multiplies each row by the scale of the expert that computed it."""

from __future__ import annotations

from typing import Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet
from .elementwise import row_scaler


@kernel("pairs x expert_of scales width")
def scale_by_expert(v: InstructionSet) -> Any:
    """x (pairs, width) *= scales (experts,) at `expert_of` (pairs,) int64, float32."""
    scale_row = row_scaler(v)

    def run(counter, ith, nth, pairs, x, expert_of, scales, width):
        count, p = v.load_i64(pairs), v.take_work(counter, 1)
        while p < count:
            scale_row(x + 4 * width * p, width, v.load_f32(scales + 4 * v.load_i64(expert_of + 8 * p)))
            p = v.take_work(counter, 1)

    return run
