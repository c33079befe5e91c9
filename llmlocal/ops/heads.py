"""Heads moved together and back, for products in which every head has a matrix of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet
from .sort_by_expert import GROUP_BYTES
from .take_columns import copy_floats

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def heads_together_reference(x: NDArray[np.float32], first: int, width: int) -> NDArray[np.float32]:
    """x (tokens, heads, n) -> values first .. first + width - 1 of each head, (heads, tokens, width)."""
    return x[:, :, first : first + width].swapaxes(0, 1)


@kernel("tokens x out groups heads x_head first width", pieces="tokens")
def heads_together(v: InstructionSet) -> Any:
    """out (heads, tokens, width) = values of each head of x (tokens, heads, x_head) from `first` on; float32.

    `groups`, as `sort_by_expert` writes it, says that the rows of head h are for matrix h.
    """
    copy = copy_floats(v)

    def run(counter, ith, nth, tokens, x, out, groups, heads, x_head, first, width):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            for h in range(heads):
                copy(x + 4 * (x_head * (heads * t + h) + first), out + 4 * width * (count * h + t), width)
            if t == 0:
                v.store(groups, heads)
                for h in range(heads):
                    at = groups + 8 + GROUP_BYTES * h
                    v.store(at, h)
                    v.store(at + 8, count * h)
                    v.store(at + 16, count)
            t = v.take_work(counter, 1)

    return run


@kernel("tokens x out heads width out_head", pieces="tokens")
def heads_apart(v: InstructionSet) -> Any:
    """The first `width` values of each head of out (tokens, heads, out_head) = x (heads, tokens, width); float32."""
    copy = copy_floats(v)

    def run(counter, ith, nth, tokens, x, out, heads, width, out_head):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            for h in range(heads):
                copy(x + 4 * width * (count * h + t), out + 4 * out_head * (heads * t + h), width)
            t = v.take_work(counter, 1)

    return run
