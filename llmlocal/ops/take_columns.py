"""Columns of activations that lie between others, such as the queries of a projection to queries and gates."""

from __future__ import annotations

from typing import Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet


def copy_floats(v: InstructionSet) -> Any:
    """`(source, target, width)`: copy `width` float32, or any 4 bytes."""
    f32x8 = v.f32x8

    def run(source, target, width):
        for i in range(0, width - 7, 8):
            v.store(target + 4 * i, v.load(f32x8, source + 4 * i))
        for i in range(width // 8 * 8, width):
            v.store(target + 4 * i, v.load_f32(source + 4 * i))

    return v.jitable(run)


@kernel("tokens x out groups width x_group x_column x_row out_group out_column out_row", pieces="tokens")
def take_columns(v: InstructionSet) -> Any:
    """out[t, out_column + out_group * g + i] = x[t, x_column + x_group * g + i] for g < groups, i < width; float32.

    Rows of x and out have `x_row` and `out_row` values.
    """
    copy = copy_floats(v)

    def run(counter, ith, nth, tokens, x, out, groups, width, x_group, x_column, x_row, out_group, out_column, out_row):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            for g in range(groups):
                source = x + 4 * (x_row * t + x_column + x_group * g)
                copy(source, out + 4 * (out_row * t + out_column + out_group * g), width)
            t = v.take_work(counter, 1)

    return run
