"""exp(x) and softplus(x) of float32 vectors."""

from __future__ import annotations

from math import factorial, log
from typing import Any

from ..quant.simd.instruction_set import InstructionSet

# Taylor coefficients of exp, highest first: for |x| <= ln 2 / 2 the remainder is below half an ulp of float32.
COEFFICIENTS = (1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0)
# atanh(s) = s (1 + s^2 / 3 + s^4 / 5 + ...), highest power first: relative error below 1e-8 for s <= 1 / 3.
ATANH = (1 / 15, 1 / 13, 1 / 11, 1 / 9, 1 / 7, 1 / 5, 1 / 3, 1.0)
# The same of 2^x, for |x| <= 1 / 2: relative error below 2e-7.
POWERS_OF_2 = tuple(log(2) ** i / factorial(i) for i in range(6, -1, -1))
# The polynomial of 2^x that is nearest for |x| <= 1 / 2: relative error below 8e-8.
NEAREST_POWERS_OF_2 = (0.001327647196, 0.009675541503, 0.05550713275, 0.2402211972, 0.6931469671, 1.0)
LOG2_E = 1.4426950408889634
WHOLE = 1.5 * 2**23  # added to a small number it leaves a whole one in the low bits
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4  # their sum is ln 2; the first has few bits, so n * LN2_HIGH is exact


def _polynomial(v: InstructionSet, f32: Any, coefficients: tuple[float, ...]) -> Any:
    """`(x)`: the polynomial of x; coefficients are the highest first."""
    first = coefficients[0]

    def term(coefficient: float) -> Any:
        return v.jitable(lambda p, x: v.fma(p, x, v.splat(f32, coefficient)))

    terms = v.fold_parts([term(c) for c in coefficients[1:]])
    return v.jitable(lambda x: terms(v.splat(f32, first), x))


def _reduced(v: InstructionSet, f32: Any, coefficients: tuple[float, ...]) -> Any:
    """`(x)` -> n and a polynomial of r, where x = n ln 2 + r."""
    polynomial = _polynomial(v, f32, coefficients)

    def run(x):
        n = v.round_even(x * LOG2_E)
        r = v.fma(n, v.splat(f32, -LN2_LOW), v.fma(n, v.splat(f32, -LN2_HIGH), x))
        return n, polynomial(r)

    return v.jitable(run)


def exp_of_minus(v: InstructionSet, f32: Any, i32: Any) -> Any:
    """`(x)`: e^-x for sums with 1, as in a sigmoid: half the work of `exp`.

    x counts as -87 or 87 beyond these; relative error below 2e-6, near 0 below 3e-7; NaN for NaN.
    """
    polynomial = _polynomial(v, f32, POWERS_OF_2)

    def run(x):
        x = v.minimum(v.maximum(x, v.splat(f32, -87.0)), v.splat(f32, 87.0))
        scale, whole = v.splat(f32, -LOG2_E), v.splat(f32, WHOLE)
        n = v.fma(x, scale, whole)
        p = polynomial(v.fma(x, scale, v.sub_exact(whole, n)))
        return v.bitcast(f32, v.bitcast(i32, p) + (v.bitcast(i32, n) << 23))

    return v.jitable(run)


def exp_below(v: InstructionSet, f32: Any, i32: Any) -> Any:
    """As `exp`, for x <= 0 (softmax): relative error below 3e-6, e^-87 for x < -87. NaN stays NaN."""
    reduced = _reduced(v, f32, COEFFICIENTS[2:])

    def run(x):
        n, p = reduced(v.maximum(x, v.splat(f32, -87.0)))
        return v.bitcast(f32, v.bitcast(i32, p) + (v.to_i32(i32, n) << 23))

    return v.jitable(run)


def power_of_2(v: InstructionSet, f32: Any, i32: Any) -> Any:
    """`(x)`: 2^x for x <= 0 (softmax): relative error below 3e-7, 2^-126 for x < -126. NaN stays NaN."""
    polynomial = _polynomial(v, f32, NEAREST_POWERS_OF_2)

    def run(x):
        x, whole = v.maximum(x, v.splat(f32, -126.0)), v.splat(f32, WHOLE)
        n = x + whole
        p = polynomial(v.sub_exact(x, v.sub_exact(n, whole)))
        return v.bitcast(f32, v.bitcast(i32, p) + (v.bitcast(i32, n) << 23))

    return v.jitable(run)


def exp(v: InstructionSet, f32: Any, i32: Any) -> Any:
    """`(x)`: exp of a float32 vector; relative error below 2e-7, 0 far below -87, infinity above 88.8, NaN for NaN.

    x = n ln 2 + r, so exp(x) = 2^n exp(r); 2^n is built from exponent bits, as two factors.
    """
    reduced = _reduced(v, f32, COEFFICIENTS)

    def run(x):
        n, p = reduced(v.minimum(v.maximum(x, v.splat(f32, -110.0)), v.splat(f32, 89.0)))
        whole = v.to_i32(i32, n)
        half = v.shift_signed(whole, 1)
        first = v.bitcast(f32, (half + 127) << 23)
        second = v.bitcast(f32, (whole - half + 127) << 23)
        return p * first * second

    return v.jitable(run)


def softplus(v: InstructionSet, f32: Any, i32: Any) -> Any:
    """`(x)`: ln(1 + e^x) of a float32 vector; relative error below 1e-6, NaN for NaN.

    It is max(x, 0) + ln(1 + u) with u = e^-|x|, and ln(1 + u) = 2 atanh(u / (2 + u)).
    """
    power = exp(v, f32, i32)

    def term(coefficient: float) -> Any:
        return v.jitable(lambda p, square: v.fma(p, square, v.splat(f32, coefficient)))

    series = v.fold_parts([term(c) for c in ATANH[1:]])
    first = ATANH[0]

    def run(x):
        u = power(v.zero(f32) - v.absolute(x))
        s = u / (u + 2.0)
        return v.maximum(x, v.zero(f32)) + s * series(v.splat(f32, first), s * s) * 2.0

    return v.jitable(run)
