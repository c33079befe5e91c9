"""The intrinsics for float16: by the machine's conversions or, where it has none, by integer arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.ir as ir
from numba.core import types

from .vector import ELEMENTS, I32, intrinsic, load_value, returns, same_as_first, splat_value

F16, F32, I16 = ELEMENTS["f16"], ELEMENTS["f32"], ELEMENTS["i16"]
Convert = Callable[[Any, Any], Any]


def like(kind: Any, element: Any) -> Any:
    """A scalar or vector type like `kind`, of another element."""
    return ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element


def widen_by_machine(b: Any, x: Any) -> Any:
    """float16 -> float32 by the CPU's instruction."""
    return b.fpext(x, like(x.type, F32))


def narrow_by_machine(b: Any, x: Any) -> Any:
    """float32 -> float16 by the CPU's instruction, rounded to nearest even."""
    return b.fptrunc(x, like(x.type, F16))


def _number(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count) if isinstance(kind, ir.VectorType) else ir.Constant(kind, value)


def widen_by_integers(b: Any, x: Any) -> Any:
    """float16 -> float32: a multiplication rebases the exponent, exact for subnormals too; infinity and NaN apart."""
    kind = like(x.type, I32)
    bits = b.zext(b.bitcast(x, like(x.type, I16)), kind)
    number = b.shl(b.and_(bits, _number(kind, 0x7FFF)), _number(kind, 13))
    rebased = b.fmul(b.bitcast(number, like(kind, F32)), b.bitcast(_number(kind, 0x77800000), like(kind, F32)))
    special = b.icmp_unsigned(">=", number, _number(kind, 0x0F800000))
    finite = b.bitcast(rebased, kind)
    value = b.select(special, b.or_(number, _number(kind, 0x7F800000)), finite)
    sign = b.shl(b.and_(bits, _number(kind, 0x8000)), _number(kind, 16))
    return b.bitcast(b.or_(value, sign), like(kind, F32))


def narrow_by_integers(b: Any, x: Any) -> Any:
    """float32 -> float16, to nearest even. Subnormals are rounded by adding 0.5, whose last bit is a subnormal's.

    After Giesen's float_to_half_fast3_rtne (public domain).
    """
    kind = like(x.type, I32)
    bits = b.bitcast(x, kind)
    sign = b.and_(bits, _number(kind, -0x80000000))
    size = b.xor(bits, sign)
    half = b.bitcast(_number(kind, 0x3F000000), like(kind, F32))
    small = b.sub(b.bitcast(b.fadd(b.bitcast(size, like(kind, F32)), half), kind), _number(kind, 0x3F000000))
    odd = b.and_(b.lshr(size, _number(kind, 13)), _number(kind, 1))
    normal = b.lshr(b.add(b.add(size, _number(kind, 0xC8000FFF - (1 << 32))), odd), _number(kind, 13))
    nan = b.icmp_unsigned(">", size, _number(kind, 0x7F800000))
    special = b.select(nan, _number(kind, 0x7E00), _number(kind, 0x7C00))
    value = b.select(b.icmp_unsigned("<", size, _number(kind, 0x38800000)), small, normal)
    value = b.select(b.icmp_unsigned(">=", size, _number(kind, 0x47800000)), special, value)
    value = b.or_(value, b.lshr(sign, _number(kind, 16)))
    return b.bitcast(b.trunc(value, like(kind, I16)), like(kind, F16))


def float16_intrinsics(widen: Convert, narrow: Convert) -> tuple[Any, ...]:
    """The intrinsics to_f32, to_f16, load_f16, load_f16_splat and load_f16_column by the given conversions."""

    @intrinsic(same_as_first)
    def to_f32(b: Any, t: Any, kind: Any, x: Any) -> Any:
        """Signed integers or float16 -> float32 lanes."""
        return widen(b, x) if t[1].is_float else b.sitofp(x, t[0].ir)

    @intrinsic(same_as_first)
    def to_f16(b: Any, t: Any, kind: Any, x: Any) -> Any:
        """float32 -> float16 lanes, rounded to nearest even."""
        return narrow(b, x)

    @intrinsic(returns(types.float32))
    def load_f16(b: Any, t: Any, p: Any) -> Any:
        """The float16 at address `p` as float32."""
        return widen(b, load_value(b, p, F16))

    @intrinsic(same_as_first)
    def load_f16_splat(b: Any, t: Any, kind: Any, p: Any) -> Any:
        """All float32 lanes hold the float16 at address `p`."""
        bits = splat_value(b, ir.VectorType(I16, t[0].n), load_value(b, p, I16))
        return widen(b, b.bitcast(bits, ir.VectorType(F16, t[0].n)))

    @intrinsic(same_as_first)
    def load_f16_column(b: Any, t: Any, kind: Any, p: Any, stride: Any) -> Any:
        """Lane r of a float32 vector holds the float16 at `p + r * stride`."""
        bits = ir.Constant(ir.VectorType(I16, t[0].n), ir.Undefined)
        for r in range(t[0].n):
            at = b.add(p, b.mul(stride, ELEMENTS["i64"](r)))
            bits = b.insert_element(bits, load_value(b, at, I16), I32(r))
        return widen(b, b.bitcast(bits, ir.VectorType(F16, t[0].n)))

    return to_f32, to_f16, load_f16, load_f16_splat, load_f16_column


to_f32, to_f16, load_f16, load_f16_splat, load_f16_column = float16_intrinsics(widen_by_machine, narrow_by_machine)
