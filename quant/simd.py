"""Vector values inside Numba: the words that kernels are written in. Knows no format and no instruction set.

A `Vec` is a Numba type whose machine form is an LLVM vector, so `a + b`, `fma(a, b, c)` and `load(f32x8, p)` in a kernel
become the single instructions that a C programmer gets from intrinsics. Addresses are int64. Words that differ between
instruction sets (the int8 multiply-add above all) live in `isa/`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

import llvmlite.ir as ir
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numba.core.imputils import lower_builtin
from numba.core.types import float32, int32, int64  # noqa: F401  (scalar types, words of kernels too)
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_jitable, register_model

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


def jitable(function: Callable[..., Any]) -> Any:
    """A part of a kernel: compiled into whatever calls it, always inline, so that its vectors stay in registers."""
    return register_jitable(forceinline=True)(function)


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


def word(result: Callable[..., Any]) -> Callable[[Emit], Any]:
    """An intrinsic whose result type is `result(*argument types)` and whose code is `emit(builder, argument types, *values)`.

    A Vec passed as a type (`load(f32x8, p)`) reaches `emit` among the types; its value there is a dummy.
    """

    def decorate(emit: Emit) -> Any:
        def typing(typingctx: Any, *params: Any) -> Any:
            out = result(*(p.instance_type if isinstance(p, types.TypeRef) else p for p in params))
            if out is None:
                return None

            def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
                kinds = [a.instance_type if isinstance(a, types.TypeRef) else a for a in sig.args]
                value = emit(builder, kinds, *args)
                return context.get_dummy_value() if out is types.void else value

            return signature(out, *params), codegen

        # Numba reads an intrinsic's arity from its signature.
        names = ["typingctx", *emit.__code__.co_varnames[2 : emit.__code__.co_argcount]]
        typing.__signature__ = Signature([Parameter(n, Parameter.POSITIONAL_OR_KEYWORD) for n in names])  # type: ignore[attr-defined]
        typing.__name__, typing.__doc__ = emit.__name__, emit.__doc__
        return intrinsic(typing)

    return decorate


def always(kind: Any) -> Callable[..., Any]:
    return lambda *_: kind


def first(kind: Any, *_: Any) -> Any:
    return kind


def pointer(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


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


# ---- memory -------------------------------------------------------------------------------------------------------


def load_value(builder: Any, address: Any, kind: Any, align: int = 1) -> Any:
    value = builder.load(pointer(builder, address, kind))
    value.align = align
    return value


@word(first)
def load(b: Any, t: Any, kind: Any, p: Any) -> Any:
    """The vector at address `p`, of any alignment."""
    return load_value(b, p, t[0].ir)


@word(always(types.void))
def store(b: Any, t: Any, p: Any, x: Any) -> Any:
    """Write a vector or scalar to address `p`, of any alignment."""
    b.store(x, pointer(b, p, x.type)).align = 1


@word(always(types.int64))
def load_i64(b: Any, t: Any, p: Any) -> Any:
    """The int64 at address `p`."""
    return load_value(b, p, ELEMENTS["i64"])


@word(always(types.int64))
def load_i32(b: Any, t: Any, p: Any) -> Any:
    """The int32 at address `p`, sign-extended."""
    return b.sext(load_value(b, p, I32), ELEMENTS["i64"])


@word(always(types.int64))
def load_i8(b: Any, t: Any, p: Any) -> Any:
    """The int8 at address `p`, sign-extended."""
    return b.sext(load_value(b, p, ELEMENTS["i8"]), ELEMENTS["i64"])


@word(always(types.int64))
def load_u16(b: Any, t: Any, p: Any) -> Any:
    """The uint16 at address `p`."""
    return b.zext(load_value(b, p, ELEMENTS["i16"]), ELEMENTS["i64"])


@word(always(types.float32))
def load_f32(b: Any, t: Any, p: Any) -> Any:
    """The float32 at address `p`."""
    return load_value(b, p, ELEMENTS["f32"])


@word(always(types.float32))
def load_f16(b: Any, t: Any, p: Any) -> Any:
    """The float16 at address `p` as float32."""
    return b.fpext(load_value(b, p, ELEMENTS["f16"]), ELEMENTS["f32"])


@word(first)
def load_splat(b: Any, t: Any, kind: Any, p: Any) -> Any:
    """All lanes hold the one element at address `p`."""
    return splat_value(b, t[0].ir, load_value(b, p, t[0].ir.element))


@word(first)
def load_lane(b: Any, t: Any, kind: Any, p: Any) -> Any:
    """Lane 0 holds the element at address `p`, the others 0."""
    return b.insert_element(t[0].lanes([0] * t[0].n), load_value(b, p, t[0].ir.element), I32(0))


@word(first)
def load_two_lanes(b: Any, t: Any, kind: Any, p: Any) -> Any:
    """The first lanes of both halves hold the two elements at address `p`, the others 0."""
    pair, n = load_value(b, p, ir.VectorType(t[0].ir.element, 2)), t[0].n
    lanes = [0] + [2] * (n // 2 - 1) + [1] + [2] * (n // 2 - 1)
    return shuffle_value(b, pair, ir.Constant(pair.type, [0, 0]), lanes)


@word(first)
def load_two_splats(b: Any, t: Any, kind: Any, p: Any, q: Any) -> Any:
    """The element at address `p` in the first half of the lanes, the one at `q` in the second half."""
    n, x, y = t[0].n, *(splat_value(b, t[0].ir, load_value(b, at, t[0].ir.element)) for at in (p, q))
    return shuffle_value(b, x, y, [*range(n // 2), *range(n + n // 2, 2 * n)])


@word(first)
def load_splat4(b: Any, t: Any, kind: Any, p: Any) -> Any:
    """Every 32-bit lane of an int8 vector holds the same 4 bytes, those at address `p`."""
    words = ir.VectorType(I32, t[0].n // 4)
    return b.bitcast(splat_value(b, words, load_value(b, p, I32)), t[0].ir)


@word(first)
def load_f16_splat(b: Any, t: Any, kind: Any, p: Any) -> Any:
    """All float32 lanes hold the float16 at address `p`."""
    half = splat_value(b, ir.VectorType(ELEMENTS["i16"], t[0].n), load_value(b, p, ELEMENTS["i16"]))
    return b.fpext(b.bitcast(half, ir.VectorType(ELEMENTS["f16"], t[0].n)), t[0].ir)


@word(first)
def load_column(b: Any, t: Any, kind: Any, p: Any, stride: Any) -> Any:
    """Lane r holds the element at `p + r * stride`."""
    vec, value = t[0].ir, ir.Constant(t[0].ir, ir.Undefined)
    for r in range(t[0].n):
        at = b.add(p, b.mul(stride, ELEMENTS["i64"](r)))
        value = b.insert_element(value, load_value(b, at, vec.element), I32(r))
    return value


@word(first)
def load_spread_bits(b: Any, t: Any, kind: Any, p: Any) -> Any:
    """Bit i of the bytes at address `p` as lane i: 0, or all ones."""
    n = t[0].n
    bits = b.bitcast(load_value(b, p, ir.IntType(n)), ir.VectorType(ir.IntType(1), n))
    return b.sext(bits, t[0].ir)


@word(first)
def load_two_halves(b: Any, t: Any, kind: Any, p: Any) -> Any:
    """The int8 at address `p` as float32 in the first half of the lanes, the next one in the second half."""
    n, pair = t[0].n // 2, b.sitofp(load_value(b, p, ir.VectorType(ELEMENTS["i8"], 2)), ir.VectorType(ELEMENTS["f32"], 2))
    return shuffle_value(b, pair, pair, [0] * n + [1] * n)


@word(first)
def load_f16_column(b: Any, t: Any, kind: Any, p: Any, stride: Any) -> Any:
    """Lane r of a float32 vector holds the float16 at `p + r * stride`."""
    bits = ir.Constant(ir.VectorType(ELEMENTS["i16"], t[0].n), ir.Undefined)
    for r in range(t[0].n):
        at = b.add(p, b.mul(stride, ELEMENTS["i64"](r)))
        bits = b.insert_element(bits, load_value(b, at, ELEMENTS["i16"]), I32(r))
    return b.fpext(b.bitcast(bits, ir.VectorType(ELEMENTS["f16"], t[0].n)), t[0].ir)


@word(lambda kind, p, stride: types.UniTuple(kind, 4))
def load_rows(b: Any, t: Any, kind: Any, p: Any, stride: Any) -> Any:
    """16 bytes of as many rows as the int32 vector has lanes, transposed: vector j holds dword j of every row."""
    n, quads = t[0].n, []
    for r in range(n):
        at = b.add(p, b.mul(stride, ELEMENTS["i64"](r)))
        quads.append(load_value(b, at, ir.VectorType(I32, 4)))
    columns = [_transpose(b, quads[r : r + 4]) for r in range(0, n, 4)]
    out = ir.Constant(ir.ArrayType(t[0].ir, 4), ir.Undefined)
    for j in range(4):
        parts = [c[j] for c in columns]
        while len(parts) > 1:
            width = 2 * parts[0].type.count
            parts = [shuffle_value(b, x, y, list(range(width))) for x, y in zip(parts[::2], parts[1::2], strict=True)]
        out = b.insert_value(out, parts[0], j)
    return out


def _transpose(b: Any, rows: list[Any]) -> list[Any]:
    """Four rows of four dwords -> four columns, by the usual two rounds of interleaving."""
    r0, r1, r2, r3 = rows
    low01, high01 = shuffle_value(b, r0, r1, [0, 4, 1, 5]), shuffle_value(b, r0, r1, [2, 6, 3, 7])
    low23, high23 = shuffle_value(b, r2, r3, [0, 4, 1, 5]), shuffle_value(b, r2, r3, [2, 6, 3, 7])
    pairs = [(low01, low23), (high01, high23)]
    return [shuffle_value(b, x, y, lanes) for x, y in pairs for lanes in ([0, 1, 4, 5], [2, 3, 6, 7])]


@word(always(types.void))
def prefetch(b: Any, t: Any, p: Any) -> Any:
    """Ask for the cache line at address `p`."""
    byte = pointer(b, p, ELEMENTS["i8"])
    fn = get_or_insert_function(
        b.module, ir.FunctionType(ir.VoidType(), [byte.type, I32, I32, I32]), "llvm.prefetch.p0"
    )
    b.call(fn, [byte, I32(0), I32(3), I32(1)])


@word(always(types.int64))
def draw(b: Any, t: Any, counter: Any, n: Any) -> Any:
    """Take `n` pieces of work from the counter at an address; the result is the first of them."""
    return b.atomic_rmw("add", pointer(b, counter, ELEMENTS["i64"]), n, "monotonic")


# ---- values -------------------------------------------------------------------------------------------------------


@word(first)
def zero(b: Any, t: Any, kind: Any) -> Any:
    """All lanes 0."""
    return t[0].lanes([0.0 if t[0].is_float else 0] * t[0].n)


@word(first)
def splat(b: Any, t: Any, kind: Any, x: Any) -> Any:
    """All lanes hold the scalar `x`, converted to the lane type."""
    return splat_value(b, t[0].ir, _scalar(b, x, t[1], t[0]))


def _scalar(b: Any, x: Any, kind: Any, vec: Vec) -> Any:
    element = vec.ir.element
    if vec.is_float:
        if isinstance(kind, types.Integer):
            return b.sitofp(x, element)
        return x if x.type == element else b.fptrunc(x, element)
    return x if x.type == element else b.trunc(x, element) if x.type.width > element.width else b.sext(x, element)


@word(first)
def bitcast(b: Any, t: Any, kind: Any, x: Any) -> Any:
    """The same bits seen as another vector type."""
    return b.bitcast(x, t[0].ir)


@word(first)
def to_f32(b: Any, t: Any, kind: Any, x: Any) -> Any:
    """Signed integers or halves -> float32 lanes."""
    return b.fpext(x, t[0].ir) if t[1].is_float else b.sitofp(x, t[0].ir)


@word(first)
def to_f16(b: Any, t: Any, kind: Any, x: Any) -> Any:
    """float32 -> float16 lanes, rounded to nearest even."""
    return b.fptrunc(x, t[0].ir)


@word(first)
def truncate(b: Any, t: Any, kind: Any, x: Any) -> Any:
    """The low bits of every integer lane."""
    return b.trunc(x, t[0].ir)


@word(first)
def widen_unsigned(b: Any, t: Any, kind: Any, x: Any) -> Any:
    """Unsigned integers -> wider lanes."""
    return b.zext(x, t[0].ir)


@word(first)
def widen_signed(b: Any, t: Any, kind: Any, x: Any) -> Any:
    """Signed integers -> wider lanes."""
    return b.sext(x, t[0].ir)


@word(lambda x, y: Vec(x.elem, x.n + y.n))
def join(b: Any, t: Any, x: Any, y: Any) -> Any:
    """The lanes of `x`, then those of `y`."""
    return shuffle_value(b, x, y, list(range(t[0].n + t[1].n)))


def slice_of(start: int, n: int) -> Any:
    """The word `x -> lanes start .. start + n - 1 of x`."""

    @word(lambda x: Vec(x.elem, n))
    def taken(b: Any, t: Any, x: Any) -> Any:
        return shuffle_value(b, x, ir.Constant(x.type, ir.Undefined), list(range(start, start + n)))

    return taken


def splat_of(lane: int) -> Any:
    """The word `x -> x with one lane of it in all`."""

    @word(first)
    def spread(b: Any, t: Any, x: Any) -> Any:
        return shuffle_value(b, x, ir.Constant(x.type, ir.Undefined), [lane] * t[0].n)

    return spread


@word(first)
def swap_pairs(b: Any, t: Any, x: Any) -> Any:
    """Neighbouring lanes exchanged."""
    return shuffle_value(b, x, ir.Constant(x.type, ir.Undefined), [i ^ 1 for i in range(t[0].n)])


@word(lambda x: Vec(x.elem, x.n // 2))
def low_half(b: Any, t: Any, x: Any) -> Any:
    """The first half of the lanes."""
    return shuffle_value(b, x, ir.Constant(x.type, ir.Undefined), list(range(t[0].n // 2)))


@word(lambda x: Vec(x.elem, x.n // 2))
def high_half(b: Any, t: Any, x: Any) -> Any:
    """The last half of the lanes."""
    return shuffle_value(b, x, ir.Constant(x.type, ir.Undefined), list(range(t[0].n // 2, t[0].n)))


@word(first)
def spread_4_bits(b: Any, t: Any, x: Any) -> Any:
    """Bits 0..3 of every int32 lane as bit 0 of its 4 bytes: the product puts a copy of all four where each is wanted."""
    copies = b.mul(b.and_(x, t[0].lanes([15] * t[0].n)), t[0].lanes([0x00204081] * t[0].n))
    return b.and_(copies, t[0].lanes([0x01010101] * t[0].n))


@word(first)
def shift_signed(b: Any, t: Any, x: Any, n: Any) -> Any:
    """Lanes shifted right, the sign kept."""
    return b.ashr(x, splat_value(b, x.type, b.trunc(n, x.type.element)))


@word(first)
def shift_bytes(b: Any, t: Any, x: Any, n: Any) -> Any:
    """Bytes shifted right by way of 16-bit lanes (x86 shifts no bytes); the top bits of every byte are then not its own."""
    pairs = ir.VectorType(ELEMENTS["i16"], t[0].n // 2)
    shifted = b.lshr(b.bitcast(x, pairs), splat_value(b, pairs, b.trunc(n, ELEMENTS["i16"])))
    return b.bitcast(shifted, x.type)


@word(lambda x: Vec("i8", 2 * x.n))
def nibbles(b: Any, t: Any, x: Any) -> Any:
    """The low nibbles of all bytes, then the high ones."""
    low = b.and_(x, t[0].lanes([15] * t[0].n))
    return shuffle_value(b, low, b.lshr(x, t[0].lanes([4] * t[0].n)), list(range(2 * t[0].n)))


@word(first)
def fma(b: Any, t: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z with one rounding."""
    return call(b, f"llvm.fma.v{t[0].n}f32", x.type, x, y, z)


@word(first)
def sqrt(b: Any, t: Any, x: Any) -> Any:
    """Square root of every lane, or of one float32."""
    name = f"llvm.sqrt.v{t[0].n}f32" if isinstance(t[0], Vec) else "llvm.sqrt.f32"
    return call(b, name, x.type, x)


@word(first)
def round_even(b: Any, t: Any, x: Any) -> Any:
    """Every float32 lane rounded to the nearest integer, ties to even."""
    return call(b, f"llvm.roundeven.v{t[0].n}f32", x.type, x)


@word(first)
def to_i32(b: Any, t: Any, kind: Any, x: Any) -> Any:
    """float32 -> int32 lanes, towards zero; callers keep values in range."""
    return b.fptosi(x, t[0].ir)


@word(first)
def absolute(b: Any, t: Any, x: Any) -> Any:
    """Magnitude of every float32 lane."""
    return call(b, f"llvm.fabs.v{t[0].n}f32", x.type, x)


@word(first)
def maximum(b: Any, t: Any, x: Any, y: Any) -> Any:
    """The greater of each pair of lanes, float32 or signed; a NaN in `x` stays."""
    return _greater(b, x, y)


@word(first)
def minimum(b: Any, t: Any, x: Any, y: Any) -> Any:
    """The lesser of each pair of float32 lanes; a NaN in `x` stays."""
    return b.select(b.fcmp_unordered("<", x, y), x, y)


def _greater(b: Any, x: Any, y: Any) -> Any:
    kind = getattr(x.type, "element", x.type)
    compare = b.icmp_signed if isinstance(kind, ir.IntType) else b.fcmp_unordered
    return b.select(compare(">", x, y), x, y)


def _halves(b: Any, x: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """Fold a vector in half until one lane is left: the same order on every machine."""
    while x.type.count > 1:
        half = x.type.count // 2
        undefined = ir.Constant(x.type, ir.Undefined)
        low = shuffle_value(b, x, undefined, list(range(half)))
        high = shuffle_value(b, x, undefined, list(range(half, 2 * half)))
        x = combine(low, high)
    return b.extract_element(x, I32(0))


@word(lambda x: SCALARS[x.elem])
def total(b: Any, t: Any, x: Any) -> Any:
    """Sum of all lanes, by halves."""
    return _halves(b, x, b.fadd if t[0].is_float else b.add)


@word(lambda x: SCALARS[x.elem])
def greatest(b: Any, t: Any, x: Any) -> Any:
    """Greatest lane, float32 or signed."""
    return _halves(b, x, lambda low, high: _greater(b, low, high))


@word(always(types.float32))
def as_f32(b: Any, t: Any, bits: Any) -> Any:
    """The float32 whose bits are those of an int32, or of the low half of an int64 (so argument blocks carry floats)."""
    return b.bitcast(bits if t[0].bitwidth == 32 else b.trunc(bits, I32), ELEMENTS["f32"])


# ---- operators ----------------------------------------------------------------------------------------------------


def _binary(symbol: Any, on_int: str, on_float: str | None) -> None:
    def pick(context: Any, b: Any, sig: Any, args: Any) -> Any:
        x, y = args
        if not isinstance(sig.args[1], Vec):
            y = splat_value(b, sig.args[0].ir, _scalar(b, y, sig.args[1], sig.args[0]))
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


# ---- threads ------------------------------------------------------------------------------------------------------


@word(always(types.int64))
def atomic_add(b: Any, t: Any, p: Any, n: Any) -> Any:
    """Add to the int64 at address `p`; the result is what it was before."""
    return b.atomic_rmw("add", pointer(b, p, ELEMENTS["i64"]), n, "acq_rel")


@word(always(types.int64))
def atomic_load(b: Any, t: Any, p: Any) -> Any:
    """The int64 at address `p`; what its writer wrote before is visible."""
    return b.load_atomic(pointer(b, p, ELEMENTS["i64"]), "acquire", 8)


@word(always(types.void))
def atomic_store(b: Any, t: Any, p: Any, n: Any) -> Any:
    """Write the int64 at address `p` after everything before it."""
    b.store_atomic(n, pointer(b, p, ELEMENTS["i64"]), "release", 8)


@word(always(types.void))
def call_kernel(b: Any, t: Any, kernel: Any, args: Any, ith: Any, nth: Any) -> Any:
    """Call the kernel at an address (see jit.CALL)."""
    i64 = ELEMENTS["i64"]
    b.call(b.inttoptr(kernel, ir.FunctionType(ir.VoidType(), [i64] * 3).as_pointer()), [args, ith, nth])


@word(always(types.void))
def call_plain(b: Any, t: Any, function: Any) -> Any:
    """Call the C function without arguments at an address."""
    b.call(b.inttoptr(function, ir.FunctionType(ir.VoidType(), []).as_pointer()), [])


# ---- several at once ----------------------------------------------------------------------------------------------


def unroll(n: int, step: Callable[[int], Callable[..., Any]]) -> Callable[..., Any]:
    """The jitable function `(*args) -> (step(0)(*args), ..., step(n - 1)(*args))`: a loop written out at compile time."""
    last = jitable(step(n - 1))
    if n == 1:
        return jitable(lambda *args: (last(*args),))
    before = unroll(n - 1, step)
    return jitable(lambda *args: before(*args) + (last(*args),))


def chain(steps: list[Callable[..., Any]]) -> Callable[..., Any]:
    """The jitable function that runs `state = step(state, *args)` for each step, in order."""
    last = steps[-1]
    if len(steps) == 1:
        return last
    before = chain(steps[:-1])
    return jitable(lambda state, *args: last(before(state, *args), *args))
