"""GELU itself, x / 2 (1 + erf(x / sqrt 2)), and a gate made of it. Hendrycks and Gimpel 2016, arXiv 1606.08415."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet
from .elementwise import elementwise, rowwise
from .exp import exp_below

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# erfc(y) = t p(t) e^(-y^2) with t = 1 / (1 + SHRINK y), highest power first: relative error below 3e-6 for y >= 0.
# The form is that of Abramowitz and Stegun 1964, 7.1.26; fitted to scipy's erfcx.
ERFC = (-0.1531510949, 0.5960054994, -0.3995349705, 0.4529797137, 0.09508047998, 0.2121266276, 0.1964966655)
SHRINK = 0.35
NOTHING = 13.0  # from this distance below 0 on the result is 0
TOGETHER = 32  # numbers whose long chains of operations run side by side


def gelu_erf_reference(x: Floats) -> Floats:
    """x / 2 (1 + erf(x / sqrt 2))."""
    import numpy as np

    out: Floats = x / 2 * np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2))
    return out


def geglu_erf_reference(gate: Floats, up: Floats) -> Floats:
    """gelu_erf(gate) * up. Shazeer 2020, arXiv 2002.05202."""
    return gelu_erf_reference(gate) * up


def _gelu_of(v: InstructionSet, f32: Any, i32: Any) -> Any:
    """`(x)`: x / 2 erfc(-x / sqrt 2) of a float32 vector: relative error below 1e-5 for x >= -9. NaN stays NaN."""
    power, first = exp_below(v, f32, i32), ERFC[0] / 2

    def term(coefficient: float) -> Any:
        return v.jitable(lambda p, t: v.fma(p, t, v.splat(f32, coefficient)))

    polynomial, shrink = v.fold_parts([term(c / 2) for c in ERFC[1:]]), SHRINK / math.sqrt(2)

    def run(x):
        size = v.absolute(x)
        t = v.splat(f32, 1.0) / (size * shrink + 1.0)
        tail = polynomial(v.splat(f32, first), t) * t * power(x * x * -0.5)
        tail = v.select_gt(size, v.splat(f32, NOTHING), v.zero(f32), tail)
        return x * v.select_gt(x, v.zero(f32), v.splat(f32, 1.0) - tail, tail)

    return v.jitable(run)


def _rows(v: InstructionSet, parts: Any) -> Any:
    """A kernel's body: out = f(gate, up), where `parts(f32, i32)` is f for vectors of that length."""
    one, lane = v.jitable(parts(v.f32x8, v.i32x8)), v.slice_of(0, 1)

    @v.jitable
    def single(g, u):
        return v.reduce_add(lane(one(v.splat(v.f32x8, v.float32(g)), v.splat(v.f32x8, v.float32(u)))))

    many = v.Vec("f32", TOGETHER)
    return rowwise(v, elementwise(v, one, single, (many, v.jitable(parts(many, v.Vec("i32", TOGETHER))))))


@kernel("tokens x out width", pieces="tokens")
def gelu_erf(v: InstructionSet) -> Any:
    """out = gelu_erf_reference(x), both (tokens, width) float32; out may be x."""

    def parts(f32, i32):
        gelu_of = _gelu_of(v, f32, i32)
        return lambda x, same: gelu_of(x)

    body = v.jitable(_rows(v, parts))

    def run(counter, ith, nth, tokens, x, out, width):
        body(counter, ith, nth, tokens, x, x, out, width)

    return run


@kernel("tokens gate up out width", pieces="tokens")
def geglu_erf(v: InstructionSet) -> Any:
    """out = geglu_erf_reference(gate, up), all (tokens, width) float32; out may be gate."""

    def parts(f32, i32):
        gelu_of = _gelu_of(v, f32, i32)
        return lambda g, u: gelu_of(g) * u

    return _rows(v, parts)
