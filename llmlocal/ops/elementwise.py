"""Addition, products, interpolation, scaling, limits and soft capping of activations, element by element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import kernel
from ..quant.simd.each_token import each_token
from ..quant.simd.instruction_set import InstructionSet
from .exp import exp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def elementwise(v: InstructionSet, eight: Any, one: Any, many: tuple[Any, Any] | None = None) -> Any:
    """`(x, y, out, width)`: out = f(x, y) for rows (width,) float32; `eight` maps f32x8, `one` the rest one by one.

    `many` is a longer vector type and what maps such vectors: their registers hide each other's latency.
    """
    f32x8, eight, one = v.f32x8, v.jitable(eight), v.jitable(one)
    f32, every = many or (f32x8, eight)
    n = f32.n

    def row(x, y, out, width):
        for i in range(0, width - n + 1, n):
            v.store(out + 4 * i, every(v.load(f32, x + 4 * i), v.load(f32, y + 4 * i)))
        for i in range(width // n * n, width - 7, 8):
            v.store(out + 4 * i, eight(v.load(f32x8, x + 4 * i), v.load(f32x8, y + 4 * i)))
        for i in range(width // 8 * 8, width):
            v.store(out + 4 * i, one(v.load_f32(x + 4 * i), v.load_f32(y + 4 * i)))

    return v.jitable(row)


def rowwise(v: InstructionSet, row: Any, *, same_y: bool = False) -> Any:
    """A kernel's body: `row(x, y, out, width)` for each token's rows of x, y and out, all (tokens, width) float32.

    With `same_y` y is (width,), the same for all tokens.
    """
    step = 0 if same_y else 4

    @v.jitable
    def token(t, x, y, out, width):
        at = 4 * width * t
        row(x + at, y + step * width * t, out + at, width)

    every = each_token(v, token)

    def run(counter, ith, nth, tokens, x, y, out, width):
        every(counter, nth, tokens, x, y, out, width)

    return run


@kernel("tokens x y out width", pieces="tokens")
def add(v: InstructionSet) -> Any:
    """out = x + y, all (tokens, width) float32; out may be x."""
    return rowwise(v, elementwise(v, lambda a, b: a + b, lambda a, b: a + b))


@kernel("tokens x y out width", pieces="tokens")
def multiply(v: InstructionSet) -> Any:
    """out = x * y, as `add`."""
    return rowwise(v, elementwise(v, lambda a, b: a * b, lambda a, b: a * b))


@kernel("tokens x bias out width", pieces="tokens")
def add_bias(v: InstructionSet) -> Any:
    """out = x + bias: x and out (tokens, width), bias (width,), float32; out may be x."""
    return rowwise(v, elementwise(v, lambda a, b: a + b, lambda a, b: a + b), same_y=True)


@kernel("tokens x factors out width", pieces="tokens")
def scale_columns(v: InstructionSet) -> Any:
    """out = x * factors: x and out (tokens, width), factors (width,), float32; out may be x."""
    return rowwise(v, elementwise(v, lambda a, b: a * b, lambda a, b: a * b), same_y=True)


@kernel("tokens x y out factors factors_row width", pieces="tokens")
def lerp(v: InstructionSet) -> Any:
    """out = x + (y - x) * factors, all (tokens, width) float32; out may be x or y.

    `factors_row` are the bytes from one token's factors to the next, 0 where all have the same.
    """
    f32x8 = v.f32x8

    def run(counter, ith, nth, tokens, x, y, out, factors, factors_row, width):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            row, by = 4 * width * t, factors + factors_row * t
            for i in range(0, 4 * (width - 7), 32):
                a, b = v.load(f32x8, x + row + i), v.load(f32x8, y + row + i)
                v.store(out + row + i, v.fma(b - a, v.load(f32x8, by + i), a))
            for i in range(4 * (width // 8 * 8), 4 * width, 4):
                c = v.load_f32(x + row + i)
                v.store(out + row + i, c + (v.load_f32(y + row + i) - c) * v.load_f32(by + i))
            t = v.take_work(counter, 1)

    return run


def _with_scalar(v: InstructionSet, eight: Any) -> Any:
    """The kernel's body: x = eight(x, scalar) in place, where `eight` maps f32x8."""
    f32x8, lane, eight = v.f32x8, v.slice_of(0, 1), v.jitable(eight)

    def run(counter, ith, nth, tokens, x, width, scalar):
        count, t, by = v.load_i64(tokens), v.take_work(counter, 1), v.as_f32(scalar)
        while t < count:
            row = x + 4 * width * t
            for i in range(0, width - 7, 8):
                v.store(row + 4 * i, eight(v.load(f32x8, row + 4 * i), by))
            for i in range(width // 8 * 8, width):
                v.store(row + 4 * i, lane(eight(v.splat(f32x8, v.load_f32(row + 4 * i)), by)))
            t = v.take_work(counter, 1)

    return run


@kernel("tokens x width factor", pieces="tokens")
def scale(v: InstructionSet) -> Any:
    """x (tokens, width) float32 *= `factor`, a float."""
    return _with_scalar(v, lambda x, factor: x * factor)


def softcap_reference(x: NDArray[np.float64], cap: float) -> NDArray[np.float64]:
    """cap * tanh(x / cap). Bello et al. 2016, arXiv 1611.09940."""
    import numpy as np

    capped: NDArray[np.float64] = cap * np.tanh(x / cap)
    return capped


@kernel("tokens x width cap", pieces="tokens")
def softcap(v: InstructionSet) -> Any:
    """x (tokens, width) float32 = cap * tanh(x / cap) in place; `cap` is a float."""
    f32x8, power = v.f32x8, exp(v, v.f32x8, v.i32x8)

    def eight(x, cap):
        return (v.splat(f32x8, 1.0) - v.splat(f32x8, 2.0) / (power(x * 2.0 / cap) + 1.0)) * cap

    return _with_scalar(v, eight)


def limit_reference(x: NDArray[np.float64], most: float) -> NDArray[np.float64]:
    """x, at least -most and at most `most`."""
    import numpy as np

    limited: NDArray[np.float64] = np.clip(x, -most, most)
    return limited


@kernel("tokens x width most", pieces="tokens")
def limit(v: InstructionSet) -> Any:
    """x (tokens, width) float32 = x limited to -most..most in place; `most` is a float."""
    f32x8 = v.f32x8

    def eight(x, most):
        high = v.splat(f32x8, most)
        return v.maximum(v.minimum(x, high), v.zero(f32x8) - high)

    return _with_scalar(v, eight)


def row_scaler(v: InstructionSet) -> Any:
    """`(row, width, by)`: a row of `width` float32 *= `by`."""
    f32x8 = v.f32x8

    def run(row, width, by):
        for i in range(0, width - 7, 8):
            v.store(row + 4 * i, v.load(f32x8, row + 4 * i) * by)
        for i in range(width // 8 * 8, width):
            v.store(row + 4 * i, v.load_f32(row + 4 * i) * by)

    return v.jitable(run)


@kernel("tokens x factors width", pieces="tokens")
def scale_rows(v: InstructionSet) -> Any:
    """x (tokens, width) float32 *= factors (tokens,) float32: each token has a factor of its own."""
    scale_row = row_scaler(v)

    def run(counter, ith, nth, tokens, x, factors, width):
        count, t = v.load_i64(tokens), v.take_work(counter, 1)
        while t < count:
            scale_row(x + 4 * width * t, width, v.load_f32(factors + 4 * t))
            t = v.take_work(counter, 1)

    return run
