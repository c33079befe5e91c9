"""The intrinsics on values: arithmetic, conversions, shuffles, atomics; the same for every instruction set.

Each becomes an LLVM instruction or two; its first line says what it computes. Those that differ between instruction
sets (the int8 multiply-add above all) are defined in `isa/`. `instruction_set.py` lists them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.ir as ir
from numba.core import types

from .vector import (
    ELEMENTS,
    I32,
    SCALARS,
    Vec,
    call,
    intrinsic,
    pointer,
    returns,
    same_as_first,
    scalar_value,
    shuffle_value,
    splat_value,
)


@intrinsic(same_as_first)
def zero(b: Any, t: Any, kind: Any) -> Any:
    """All lanes 0."""
    return t[0].lanes([0.0 if t[0].is_float else 0] * t[0].n)


@intrinsic(same_as_first)
def splat(b: Any, t: Any, kind: Any, x: Any) -> Any:
    """All lanes hold the scalar `x`, converted to the lane type."""
    return splat_value(b, t[0].ir, scalar_value(b, x, t[1], t[0]))


@intrinsic(same_as_first)
def iota(b: Any, t: Any, kind: Any, n: Any) -> Any:
    """The integers 0, n, 2 n, ... as lanes."""
    return b.mul(splat_value(b, t[0].ir, scalar_value(b, n, t[1], t[0])), t[0].lanes(range(t[0].n)))


@intrinsic(same_as_first)
def bitcast(b: Any, t: Any, kind: Any, x: Any) -> Any:
    """The same bits seen as another vector type."""
    return b.bitcast(x, t[0].ir)


@intrinsic(same_as_first)
def truncate(b: Any, t: Any, kind: Any, x: Any) -> Any:
    """The low bits of every integer lane."""
    return b.trunc(x, t[0].ir)


@intrinsic(same_as_first)
def widen_unsigned(b: Any, t: Any, kind: Any, x: Any) -> Any:
    """Unsigned integers -> wider lanes."""
    return b.zext(x, t[0].ir)


@intrinsic(same_as_first)
def widen_signed(b: Any, t: Any, kind: Any, x: Any) -> Any:
    """Signed integers -> wider lanes."""
    return b.sext(x, t[0].ir)


@intrinsic(lambda x, y: Vec(x.elem, x.n + y.n))
def join(b: Any, t: Any, x: Any, y: Any) -> Any:
    """The lanes of `x`, then those of `y`."""
    return shuffle_value(b, x, y, list(range(t[0].n + t[1].n)))


@intrinsic(lambda x, y: Vec(x.elem, 2 * x.n))
def zip_lanes(b: Any, t: Any, x: Any, y: Any) -> Any:
    """Lanes of `x` and `y` in turn, twice as many."""
    return shuffle_value(b, x, y, [i + half for i in range(t[0].n) for half in (0, t[0].n)])


def slice_of(start: int, n: int) -> Any:
    """The intrinsic `x -> lanes start .. start + n - 1 of x`."""

    @intrinsic(lambda x: Vec(x.elem, n))
    def taken(b: Any, t: Any, x: Any) -> Any:
        return shuffle_value(b, x, ir.Constant(x.type, ir.Undefined), list(range(start, start + n)))

    return taken


def splat_of(lane: int) -> Any:
    """The intrinsic `x -> x with one lane of it in all`."""

    @intrinsic(same_as_first)
    def spread(b: Any, t: Any, x: Any) -> Any:
        return shuffle_value(b, x, ir.Constant(x.type, ir.Undefined), [lane] * t[0].n)

    return spread


def lookup16(values: Sequence[int]) -> Any:
    """The intrinsic `x -> values[x]` for bytes 0..15: each bit chooses one of two, as LLVM has no look-up of its own.

    By masks: comparing bytes and selecting by bits takes LLVM a minute where the machine has no such registers.
    """

    @intrinsic(same_as_first)
    def found(b: Any, t: Any, x: Any) -> Any:
        pairs = ir.VectorType(ELEMENTS["i16"], t[0].n // 2)
        left = [t[0].lanes([value] * t[0].n) for value in values]
        for bit in range(4):
            shifted = b.lshr(b.bitcast(x, pairs), ir.Constant(pairs, [bit] * pairs.count))
            odd = b.and_(b.bitcast(shifted, x.type), t[0].lanes([1] * t[0].n))
            mask = b.sub(t[0].lanes([0] * t[0].n), odd)
            two = zip(left[::2], left[1::2], strict=True)
            left = [b.xor(low, b.and_(mask, b.xor(low, high))) for low, high in two]
        return left[0]

    return found


def copies_of(n: int) -> Any:
    """The intrinsic `x -> n copies of each lane of x`, side by side."""

    @intrinsic(lambda x: Vec(x.elem, n * x.n))
    def copied(b: Any, t: Any, x: Any) -> Any:
        return shuffle_value(b, x, ir.Constant(x.type, ir.Undefined), [i // n for i in range(n * t[0].n)])

    return copied


@intrinsic(same_as_first)
def splat_lane(b: Any, t: Any, x: Any, lane: Any) -> Any:
    """All lanes hold one lane of `x`, its number known when the kernel runs."""
    return splat_value(b, t[0].ir, b.extract_element(x, b.trunc(lane, I32)))


@intrinsic(same_as_first)
def swap_pairs(b: Any, t: Any, x: Any) -> Any:
    """Neighbouring lanes exchanged."""
    return shuffle_value(b, x, ir.Constant(x.type, ir.Undefined), [i ^ 1 for i in range(t[0].n)])


@intrinsic(lambda x: Vec(x.elem, x.n // 2))
def low_half(b: Any, t: Any, x: Any) -> Any:
    """The first half of the lanes."""
    return shuffle_value(b, x, ir.Constant(x.type, ir.Undefined), list(range(t[0].n // 2)))


@intrinsic(lambda x: Vec(x.elem, x.n // 2))
def high_half(b: Any, t: Any, x: Any) -> Any:
    """The last half of the lanes."""
    return shuffle_value(b, x, ir.Constant(x.type, ir.Undefined), list(range(t[0].n // 2, t[0].n)))


@intrinsic(same_as_first)
def spread_4_bits(b: Any, t: Any, x: Any) -> Any:
    """Bits 0..3 of every int32 lane, one each as bit 0 of its 4 bytes."""
    # One multiplication makes four copies, each shifted so that another bit comes first in its byte.
    copies = b.mul(b.and_(x, t[0].lanes([15] * t[0].n)), t[0].lanes([0x00204081] * t[0].n))
    return b.and_(copies, t[0].lanes([0x01010101] * t[0].n))


@intrinsic(same_as_first)
def shift_signed(b: Any, t: Any, x: Any, n: Any) -> Any:
    """Lanes shifted right, the sign kept."""
    return b.ashr(x, splat_value(b, x.type, b.trunc(n, x.type.element)))


@intrinsic(same_as_first)
def dot2(b: Any, t: Any, acc: Any, w: Any, x: Any) -> Any:
    """acc (int32) + sums of 2 products of neighbouring int16."""
    even, odd = ([b.sext(shuffle_value(b, h, h, list(range(i, t[1].n, 2))), t[0].ir) for h in (w, x)] for i in (0, 1))
    return b.add(acc, b.add(b.mul(*even), b.mul(*odd)))


@intrinsic(same_as_first)
def mul_round(b: Any, t: Any, x: Any, y: Any) -> Any:
    """x * y / 2^15 of int16, rounded to nearest."""
    wide = ir.VectorType(ELEMENTS["i32"], t[0].n)
    half, bits = (ir.Constant(wide, [n] * t[0].n) for n in (1 << 14, 15))
    product = b.add(b.mul(b.sext(x, wide), b.sext(y, wide)), half)
    return b.trunc(b.ashr(product, bits), x.type)


@intrinsic(same_as_first)
def negate(b: Any, t: Any, x: Any, minus: Any) -> Any:
    """Bytes with another sign where `minus` is all ones, not 0; `x` is -127..127."""
    return b.sub(b.xor(x, minus), minus)


@intrinsic(same_as_first)
def shift_bytes(b: Any, t: Any, x: Any, n: Any) -> Any:
    """Bytes shifted right; the top n bits of each are its neighbour's: x86 shifts 16-bit lanes at least."""
    pairs = ir.VectorType(ELEMENTS["i16"], t[0].n // 2)
    shifted = b.lshr(b.bitcast(x, pairs), splat_value(b, pairs, b.trunc(n, ELEMENTS["i16"])))
    return b.bitcast(shifted, x.type)


@intrinsic(lambda x: Vec("i8", 2 * x.n))
def nibbles(b: Any, t: Any, x: Any) -> Any:
    """The low nibbles of all bytes, then the high ones."""
    low = b.and_(x, t[0].lanes([15] * t[0].n))
    return shuffle_value(b, low, b.lshr(x, t[0].lanes([4] * t[0].n)), list(range(2 * t[0].n)))


@intrinsic(same_as_first)
def fma(b: Any, t: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z with one rounding."""
    return call(b, f"llvm.fma.v{t[0].n}f32", x.type, x, y, z)


@intrinsic(same_as_first)
def sqrt(b: Any, t: Any, x: Any) -> Any:
    """Square root of every lane, or of one float32."""
    name = f"llvm.sqrt.v{t[0].n}f32" if isinstance(t[0], Vec) else "llvm.sqrt.f32"
    return call(b, name, x.type, x)


@intrinsic(same_as_first)
def round_even(b: Any, t: Any, x: Any) -> Any:
    """Every float32 lane rounded to the nearest integer, ties to even."""
    return call(b, f"llvm.roundeven.v{t[0].n}f32", x.type, x)


@intrinsic(same_as_first)
def to_i32(b: Any, t: Any, kind: Any, x: Any) -> Any:
    """float32 -> int32 lanes, towards zero; callers keep values in range."""
    return b.fptosi(x, t[0].ir)


@intrinsic(same_as_first)
def absolute(b: Any, t: Any, x: Any) -> Any:
    """Magnitude of every float32 lane."""
    return call(b, f"llvm.fabs.v{t[0].n}f32", x.type, x)


@intrinsic(same_as_first)
def maximum(b: Any, t: Any, x: Any, y: Any) -> Any:
    """The greater of each pair of lanes, float32 or signed; a NaN in `x` stays."""
    return _greater(b, x, y)


@intrinsic(same_as_first)
def minimum(b: Any, t: Any, x: Any, y: Any) -> Any:
    """The lesser of each pair of float32 lanes; a NaN in `x` stays."""
    return b.select(b.fcmp_unordered("<", x, y), x, y)


@intrinsic(lambda a, b, x, y: x)
def select_gt(b: Any, t: Any, p: Any, q: Any, x: Any, y: Any) -> Any:
    """`x` in lanes where p > q, `y` in the others, those with a NaN among them."""
    compare = b.fcmp_ordered if t[0].is_float else b.icmp_signed
    return b.select(compare(">", p, q), x, y)


@intrinsic(same_as_first)
def mul_exact(b: Any, t: Any, x: Any, y: Any) -> Any:
    """x * y, rounded: never contracted to a fused multiply-add."""
    # Flags of its own replace the function's fast-math flags; `arcp` has no effect on a product.
    return b.fmul(x, y, flags=("arcp",))


@intrinsic(same_as_first)
def div_exact(b: Any, t: Any, x: Any, y: Any) -> Any:
    """x / y, correctly rounded: never replaced by a product with 1 / y."""
    return b.fdiv(x, y, flags=("contract",))


@intrinsic(same_as_first)
def sub_exact(b: Any, t: Any, x: Any, y: Any) -> Any:
    """x - y, rounded: never contracted with a product."""
    return b.fsub(x, y, flags=("arcp",))


def _greater(b: Any, x: Any, y: Any) -> Any:
    kind = getattr(x.type, "element", x.type)
    compare = b.icmp_signed if isinstance(kind, ir.IntType) else b.fcmp_unordered
    return b.select(compare(">", x, y), x, y)


def _reduce(b: Any, x: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """Fold a vector in half until one lane is left: the same order on every machine."""
    while x.type.count > 1:
        half = x.type.count // 2
        undefined = ir.Constant(x.type, ir.Undefined)
        low = shuffle_value(b, x, undefined, list(range(half)))
        high = shuffle_value(b, x, undefined, list(range(half, 2 * half)))
        x = combine(low, high)
    return b.extract_element(x, I32(0))


@intrinsic(lambda x: SCALARS[x.elem])
def reduce_add(b: Any, t: Any, x: Any) -> Any:
    """Sum of all lanes; the vector is folded in half until one lane is left."""
    return _reduce(b, x, b.fadd if t[0].is_float else b.add)


@intrinsic(lambda x: SCALARS[x.elem])
def reduce_max(b: Any, t: Any, x: Any) -> Any:
    """Greatest lane, float32 or signed."""
    return _reduce(b, x, lambda low, high: _greater(b, low, high))


@intrinsic(lambda x: SCALARS[x.elem])
def reduce_min(b: Any, t: Any, x: Any) -> Any:
    """Least float32 lane."""
    return _reduce(b, x, lambda low, high: b.select(b.fcmp_unordered("<", low, high), low, high))


@intrinsic(returns(types.int64))
def bits_of(b: Any, t: Any, x: Any) -> Any:
    """The bits of a float32, as an int64 that is not negative."""
    return b.zext(b.bitcast(x, I32), ELEMENTS["i64"])


@intrinsic(returns(types.float32))
def as_f32(b: Any, t: Any, bits: Any) -> Any:
    """The float32 whose bits are an int32, or the low half of an int64, as in argument blocks."""
    return b.bitcast(bits if t[0].bitwidth == 32 else b.trunc(bits, I32), ELEMENTS["f32"])


# ---- threads -------------------------------------------------------------------------------------------------------


@intrinsic(returns(types.int64))
def atomic_add(b: Any, t: Any, p: Any, n: Any) -> Any:
    """Add to the int64 at address `p`; the result is what it was before."""
    return b.atomic_rmw("add", pointer(b, p, ELEMENTS["i64"]), n, "acq_rel")


@intrinsic(returns(types.int64))
def atomic_load(b: Any, t: Any, p: Any) -> Any:
    """The int64 at address `p`; what its writer wrote before is visible."""
    return b.load_atomic(pointer(b, p, ELEMENTS["i64"]), "acquire", 8)


@intrinsic(returns(types.void))
def atomic_store(b: Any, t: Any, p: Any, n: Any) -> Any:
    """Write the int64 at address `p` after everything before it."""
    b.store_atomic(n, pointer(b, p, ELEMENTS["i64"]), "release", 8)


@intrinsic(returns(types.int64))
def atomic_compare_exchange(b: Any, t: Any, p: Any, expected: Any, new: Any) -> Any:
    """Write `new` to the int64 at address `p` if that holds `expected`; the result is 1 if it did, else 0."""
    both = b.cmpxchg(pointer(b, p, ELEMENTS["i64"]), expected, new, "acq_rel", "acquire")
    return b.zext(b.extract_value(both, 1), ELEMENTS["i64"])


@intrinsic(returns(types.void))
def call_kernel(b: Any, t: Any, kernel: Any, args: Any, ith: Any, nth: Any) -> Any:
    """Call the kernel at an address (see jit.CALL)."""
    i64 = ELEMENTS["i64"]
    b.call(b.inttoptr(kernel, ir.FunctionType(ir.VoidType(), [i64] * 3).as_pointer()), [args, ith, nth])


@intrinsic(returns(types.void))
def call_plain(b: Any, t: Any, function: Any) -> Any:
    """Call the C function without arguments at an address."""
    b.call(b.inttoptr(function, ir.FunctionType(ir.VoidType(), []).as_pointer()), [])
