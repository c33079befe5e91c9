"""Copies rows by index: the tokens whose logits are wanted, or each pair's token for the experts."""

from __future__ import annotations

from typing import Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet


@kernel("outputs rows x out width", pieces="outputs")
def gather_rows(v: InstructionSet) -> Any:
    """out (outputs, width) = x (any, width) at `rows` (outputs,) int64, float32 or any 4 bytes."""

    def run(counter, ith, nth, outputs, rows, x, out, width):
        count, t = v.load_i64(outputs), v.take_work(counter, 1)
        while t < count:
            source = x + 4 * width * v.load_i64(rows + 8 * t)
            for i in range(width):
                v.store(out + 4 * (width * t + i), v.load_f32(source + 4 * i))
            t = v.take_work(counter, 1)

    return run
