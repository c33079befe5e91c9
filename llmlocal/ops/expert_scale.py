"""Multiplies each row by the scale of the expert that computed it."""

from __future__ import annotations

from typing import Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet


@kernel("pairs x expert_of scales width")
def scale_by_expert(v: InstructionSet) -> Any:
    """x (pairs, width) *= scales (experts,) at `expert_of` (pairs,) int64, float32."""
    f32x8 = v.f32x8

    def run(counter, ith, nth, pairs, x, expert_of, scales, width):
        count, p = v.load_i64(pairs), v.take_work(counter, 1)
        while p < count:
            row, by = x + 4 * width * p, v.load_f32(scales + 4 * v.load_i64(expert_of + 8 * p))
            for i in range(0, width - 7, 8):
                v.store(row + 4 * i, v.load(f32x8, row + 4 * i) * by)
            for i in range(width // 8 * 8, width):
                v.store(row + 4 * i, v.load_f32(row + 4 * i) * by)
            p = v.take_work(counter, 1)

    return run
