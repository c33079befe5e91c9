"""Adds up what a token's experts computed, each times its weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..quant.jit.kernel import Kernel
from ..quant.simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Arguments(NamedTuple):
    """`pair_of` as `sort_by_expert` writes it."""

    tokens: int  # address of their number
    x: int  # (tokens * used, width) float32, sorted by expert
    pair_of: int  # (tokens, used) int64: row of x of each choice
    weights: int  # (tokens, used) float32
    out: int  # (tokens, width) float32
    width: int
    used: int


def combine_experts_reference(
    x: NDArray[np.float64], pair_of: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """x (pairs, width), pair_of and weights (tokens, used) -> (tokens, width): each token's weighted sum."""
    import numpy as np

    combined: NDArray[np.float64] = np.einsum("tu,tuw->tw", weights, x[pair_of])
    return combined


def _build(v: InstructionSet) -> Any:
    f32x8 = v.f32x8

    @v.jitable
    def add_row(row, weight, out, width, first):
        """out (width,) += weight * row, or = for the first row."""
        whole = width // 8 * 8
        for i in range(0, whole, 8):
            before = v.zero(f32x8) if first else v.load(f32x8, out + 4 * i)
            v.store(out + 4 * i, v.fma(v.load(f32x8, row + 4 * i), v.splat(f32x8, weight), before))
        for i in range(whole, width):
            before_one = v.float32(0) if first else v.load_f32(out + 4 * i)
            v.store(out + 4 * i, before_one + v.load_f32(row + 4 * i) * weight)

    def run(counter, ith, nth, *fields):
        a = Arguments(*fields)
        count, t = v.load_i64(a.tokens), v.take_work(counter, 1)
        while t < count:
            for j in range(a.used):  # in the order of choice
                choice = a.used * t + j
                row = a.x + 4 * a.width * v.load_i64(a.pair_of + 8 * choice)
                add_row(row, v.load_f32(a.weights + 4 * choice), a.out + 4 * a.width * t, a.width, j == 0)
            t = v.take_work(counter, 1)

    return run


combine_experts = Kernel("combine_experts", Arguments._fields, _build, pieces="tokens")
