"""Sums and gates of whole activations: residual, bias, SwiGLU. One value of a token never meets another here."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..quant.jit import kernel
from .exp import exp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _each(v: ModuleType, eight: Any, one: Any) -> Any:
    """`(x, y, out, width)`: out = f(x, y) along a row, eight at a time and then the tail."""
    f32x8, eight, one = v.f32x8, v.jitable(eight), v.jitable(one)

    def row(x, y, out, width):  # type: ignore[no-untyped-def]
        for i in range(0, width - 7, 8):
            v.store(out + 4 * i, eight(v.load(f32x8, x + 4 * i), v.load(f32x8, y + 4 * i)))
        for i in range(width // 8 * 8, width):
            v.store(out + 4 * i, one(v.load_f32(x + 4 * i), v.load_f32(y + 4 * i)))

    return v.jitable(row)


@kernel("tokens x y out width")
def add(v: ModuleType) -> Any:
    """out = x + y, all (tokens, width) float32; out may be x."""
    row = _each(v, lambda a, b: a + b, lambda a, b: a + b)

    def run(counter, ith, nth, tokens, x, y, out, width):  # type: ignore[no-untyped-def]
        count, t = v.load_i64(tokens), v.draw(counter, 1)
        while t < count:
            at = 4 * width * t
            row(x + at, y + at, out + at, width)
            t = v.draw(counter, 1)

    return run


@kernel("tokens x bias width")
def add_bias(v: ModuleType) -> Any:
    """x (tokens, width) += bias (width,), float32."""
    row = _each(v, lambda a, b: a + b, lambda a, b: a + b)

    def run(counter, ith, nth, tokens, x, bias, width):  # type: ignore[no-untyped-def]
        count, t = v.load_i64(tokens), v.draw(counter, 1)
        while t < count:
            row(x + 4 * width * t, bias, x + 4 * width * t, width)
            t = v.draw(counter, 1)

    return run


def swiglu_meaning(gate: NDArray[np.float64], up: NDArray[np.float64]) -> NDArray[np.float64]:
    """silu(gate) * up. Shazeer 2020, arXiv 2002.05202."""
    import numpy as np

    with np.errstate(over="ignore"):
        gated: NDArray[np.float64] = gate / (1 + np.exp(-gate)) * up
    return gated


@kernel("tokens gate up out width")
def swiglu(v: ModuleType) -> Any:
    """out = silu(gate) * up, all (tokens, width) float32; out may be gate."""
    f32x8, i32x8, float32 = v.f32x8, v.i32x8, v.float32
    power, lane = exp(v, f32x8, i32x8), v.slice_of(0, 1)

    @v.jitable
    def eight(g, u):  # type: ignore[no-untyped-def]
        return g / (power(v.zero(f32x8) - g) + 1.0) * u

    @v.jitable
    def one(g, u):  # type: ignore[no-untyped-def]
        return v.total(lane(eight(v.splat(f32x8, float32(g)), v.splat(f32x8, float32(u)))))

    row = _each(v, eight, one)

    def run(counter, ith, nth, tokens, gate, up, out, width):  # type: ignore[no-untyped-def]
        count, t = v.load_i64(tokens), v.draw(counter, 1)
        while t < count:
            at = 4 * width * t
            row(gate + at, up + at, out + at, width)
            t = v.draw(counter, 1)

    return run
