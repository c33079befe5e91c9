"""Vector values inside Numba: the type, its operators, and how an intrinsic becomes LLVM instructions.

A `Vec` is a Numba type whose machine form is an LLVM vector, so `a + b`, `fma(a, b, c)` and `load(f32x8, p)` in a
kernel become the single instructions that a C programmer gets from intrinsics.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from inspect import Parameter, Signature
from typing import Any

import llvmlite.ir as ir
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numba.core.imputils import lower_builtin
from numba.core.types import float32, int16, int32, int64  # noqa: F401  (scalar types that kernels use too)
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import models, register_model

from . import python_functions  # noqa: F401  (which kernels may call then)
from .callee import Callee, Intrinsic, register
from .part import jitable  # noqa: F401  (of which instruction sets offer it)

ELEMENTS = {
    "i8": ir.IntType(8),
    "i16": ir.IntType(16),
    "i32": ir.IntType(32),
    "i64": ir.IntType(64),
    "f16": ir.HalfType(),
    "f32": ir.FloatType(),
}
I32 = ELEMENTS["i32"]
SCALARS = {"i8": types.int8, "i16": types.int16, "i32": types.int32, "i64": types.int64, "f32": types.float32}


class Vec(types.Type):
    """`n` lanes of `elem`; LLVM splits a vector that is wider than the machine's registers."""

    def __init__(self, elem: str, n: int) -> None:
        self.elem, self.n = elem, n
        self.ir = ir.VectorType(ELEMENTS[elem], n)
        super().__init__(name=f"{elem}x{n}")

    @property
    def is_float(self) -> bool:
        return self.elem.startswith("f")

    def lanes(self, values: Any) -> ir.Constant:
        return ir.Constant(self.ir, list(values))


@register_model(Vec)
class VecModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Vec) -> None:
        super().__init__(dmm, fe_type, fe_type.ir)


i8x16, i8x32, i16x16, i32x4, i32x8 = Vec("i8", 16), Vec("i8", 32), Vec("i16", 16), Vec("i32", 4), Vec("i32", 8)
f16x8, f32x8 = Vec("f16", 8), Vec("f32", 8)

Emit = Callable[..., Any]


def intrinsic(result: Callable[..., Any]) -> Callable[[Emit], Intrinsic]:
    """An intrinsic of result type `result(*argument types)` whose code is `emit(builder, argument types, *values)`.

    A Vec passed as a type (`load(f32x8, p)`) reaches `emit` among the types; its value there is a dummy.
    """

    def decorate(emit: Emit) -> Intrinsic:
        names = emit.__code__.co_varnames[2 : emit.__code__.co_argcount]

        def typing(args: tuple[Any, ...]) -> Any:
            if len(args) != len(names):
                return None
            kinds = [a.instance_type if isinstance(a, types.TypeRef) else a for a in args]
            out = result(*kinds)

            def code(context: Any, builder: Any, sig: Any, values: Any) -> Any:
                value = emit(builder, kinds, *values)
                return context.get_dummy_value() if out is types.void else value

            return out and (out, code)

        made = Intrinsic(emit.__name__, emit.__doc__, parameters(names))
        register(made, Callee(emit.__name__, typing))
        return made

    return decorate


def parameters(names: Sequence[str]) -> Signature:
    return Signature([Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names])


def returns(kind: Any) -> Callable[..., Any]:
    return lambda *_: kind


def same_as_first(kind: Any, *_: Any) -> Any:
    return kind


def pointer(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def load_value(builder: Any, address: Any, kind: Any, align: int = 1) -> Any:
    value = builder.load(pointer(builder, address, kind))
    value.align = align
    return value


def call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    """Call LLVM's intrinsic or an external function by name."""
    fn = get_or_insert_function(builder.module, ir.FunctionType(result, [a.type for a in args]), name)
    return builder.call(fn, args)


def splat_value(builder: Any, vec: ir.VectorType, scalar: Any) -> Any:
    undefined = ir.Constant(vec, ir.Undefined)
    one = builder.insert_element(undefined, scalar, I32(0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(I32, vec.count), [0] * vec.count))


def shuffle_value(builder: Any, x: Any, y: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


def pieces(b: Any, x: Any, n: int) -> list[Any]:
    """The vector as `n` equal parts, in order."""
    width = x.type.count // n
    return [shuffle_value(b, x, x, list(range(i * width, (i + 1) * width))) for i in range(n)]


def joined(b: Any, parts: list[Any]) -> Any:
    """The parts, a power of two of them, side by side."""
    while len(parts) > 1:
        lanes = list(range(2 * parts[0].type.count))
        parts = [shuffle_value(b, x, y, lanes) for x, y in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def scalar_value(b: Any, x: Any, kind: Any, vec: Vec) -> Any:
    element = vec.ir.element
    if vec.is_float:
        if isinstance(kind, types.Integer):
            return b.sitofp(x, element)
        return x if x.type == element else b.fptrunc(x, element)
    return x if x.type == element else b.trunc(x, element) if x.type.width > element.width else b.sext(x, element)


# ---- operators -----------------------------------------------------------------------------------------------------


def _binary(symbol: Any, on_int: str, on_float: str | None) -> None:
    def pick(context: Any, b: Any, sig: Any, args: Any) -> Any:
        x, y = args
        if not isinstance(sig.args[1], Vec):
            y = splat_value(b, sig.args[0].ir, scalar_value(b, y, sig.args[1], sig.args[0]))
        name = on_float if sig.args[0].is_float else on_int
        return getattr(b, name or on_int)(x, y)

    @infer_global(symbol)
    class Template(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            x, y = args
            if isinstance(x, Vec) and (x == y or isinstance(y, types.Number)):
                return signature(x, x, y)
            return None

    lower_builtin(symbol, Vec, Vec)(pick)
    lower_builtin(symbol, Vec, types.Number)(pick)


_binary(operator.add, "add", "fadd")
_binary(operator.sub, "sub", "fsub")
_binary(operator.mul, "mul", "fmul")
_binary(operator.truediv, "sdiv", "fdiv")
_binary(operator.and_, "and_", None)
_binary(operator.or_, "or_", None)
_binary(operator.xor, "xor", None)
_binary(operator.lshift, "shl", None)
_binary(operator.rshift, "lshr", None)  # logical: lanes are bit fields here, not numbers
