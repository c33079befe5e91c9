"""xIELU: a parabola for positive numbers, an exponential for negative ones. Huang and Schlag 2024, arXiv 2411.13010."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet
from .exp import exp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SMALL = -0.25  # above it e^y - 1 is summed as a series, which loses no digits
SERIES = (1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5)


def xielu_reference(
    x: NDArray[np.float64], positive: float, negative: float, beta: float, eps: float
) -> NDArray[np.float64]:
    """positive x^2 + beta x for x > 0, else negative (e^min(x, eps) - 1 - x) + beta x."""
    import numpy as np

    low = np.minimum(x, eps)
    return np.where(x > 0, positive * x * x, negative * (np.expm1(np.minimum(low, 80)) - x)) + beta * x


@kernel("tokens x width positive negative beta eps", pieces="tokens")
def xielu(v: InstructionSet) -> Any:
    """x (tokens, width) float32 = xielu_reference(x) in place; the others are floats."""
    f32x8, power, lane = v.f32x8, exp(v, v.f32x8, v.i32x8), v.slice_of(0, 1)

    def term(coefficient: float) -> Any:
        return v.jitable(lambda p, y: v.fma(p, y, v.splat(f32x8, coefficient)))

    polynomial, first = v.fold_parts([term(c) for c in SERIES[1:]]), SERIES[0]

    @v.jitable
    def eight(x, positive, negative, beta, eps):
        zero, y = v.zero(f32x8), v.minimum(x, v.splat(f32x8, eps))
        series = y * y * polynomial(v.splat(f32x8, first), y) + (y - x)
        grown = v.select_gt(y, v.splat(f32x8, SMALL), series, power(y) - 1.0 - x)
        return v.select_gt(x, zero, x * x * positive, grown * negative) + x * beta

    def run(counter, ith, nth, tokens, x, width, positive, negative, beta, eps):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        p, n, b, e = v.as_f32(positive), v.as_f32(negative), v.as_f32(beta), v.as_f32(eps)
        while t < count:
            row = x + 4 * width * t
            for i in range(0, width - 7, 8):
                v.store(row + 4 * i, eight(v.load(f32x8, row + 4 * i), p, n, b, e))
            for i in range(width // 8 * 8, width):
                v.store(row + 4 * i, lane(eight(v.splat(f32x8, v.load_f32(row + 4 * i)), p, n, b, e)))
            t = v.take_work(counter, 1)

    return run
