"""A case for each intrinsic: the bytes it reads, its call, and its NumPy twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmlocal.quant.simd.instruction_set import InstructionSet

Array = NDArray[Any]
Body = Callable[..., None]
RUNS, SLOT = 64, 256  # how often each intrinsic is tried, and the bytes of its operands and of its result
F, I32, B, H, L = np.float32, np.int32, np.int8, np.float16, np.int64


@dataclass(frozen=True, slots=True)
class Case:
    """`body(v)` gives `(p, out)`, an intrinsic on the bytes at `p`; `reference(x)` is its NumPy twin on those bytes."""

    name: str
    body: Callable[[InstructionSet], Body]
    reference: Callable[[Array], Array]
    floats: bool = False  # the bytes are floats of moderate size, with zeros and infinities
    rtol: float = 0.0


def at(x: Array, kind: type, start: int, n: int) -> Array:
    """`n` numbers from byte `start` on."""
    return x[start : start + n * np.dtype(kind).itemsize].view(kind)


def unary(
    name: str, intrinsic: str, kind: tuple[str, type, int], reference: Callable[[Array], Array], **more: Any
) -> Case:
    """`intrinsic(x)` for a vector x."""
    vec, dtype, n = kind

    def body(v: InstructionSet) -> Body:
        f, x = getattr(v, intrinsic), v.Vec(vec, n)
        return lambda p, out: v.store(out, f(v.load(x, p)))

    return Case(name, body, lambda x: reference(at(x, dtype, 0, n)), **more)


def loads(name: str, vec: str, dtype: type, n: int, reference: Callable[[Array], Any], offset: int = 0) -> Case:
    """`intrinsic(kind, p)`: a vector from memory."""

    def body(v: InstructionSet) -> Body:
        f, kind = getattr(v, name), v.Vec(vec, n)
        return lambda p, out: v.store(out, f(kind, p + offset))

    return Case(name, body, lambda x: np.asarray(reference(x[offset:]), dtype))


def scalar(name: str, dtype: type) -> Case:
    """`intrinsic(p)`: a number from memory."""

    def body(v: InstructionSet) -> Body:
        f = getattr(v, name)
        return lambda p, out: v.store(out, v.int64(f(p + 3)))

    return Case(name, body, lambda x: at(x, dtype, 3, 1).astype(L))


def halved(x: Array, combine: Callable[[Array, Array], Array]) -> Array:
    """All lanes combined, the upper half onto the lower one until one is left."""
    while len(x) > 1:
        x = combine(x[: len(x) // 2], x[len(x) // 2 :])
    return x


def picked(x: Array, y: Array, keep: Array) -> Array:
    return np.where(keep | np.isnan(x) | np.isnan(y), x, y)


def rows_of(x: Array, lanes: int = 8, stride: int = 29) -> Array:
    return np.stack([at(x, I32, stride * r, 4) for r in range(lanes)])


def two(x: Array, dtype: type, n: int) -> tuple[Array, Array]:
    return at(x, dtype, 0, n), at(x, dtype, 128, n)


def nibbles(x: Array) -> Array:
    return np.concatenate([x & 15, x.view(np.uint8) >> 4]).astype(B)


def spread(x: Array) -> Array:
    return np.stack([x >> i & 1 for i in range(4)], axis=-1).astype(B)


F8, F16, I8, I16, B32, S16 = (
    ("f32", F, 8),
    ("f32", F, 16),
    ("i32", I32, 8),
    ("i32", I32, 16),
    ("i8", B, 32),
    ("i16", np.int16, 16),
)


def operators(kind: tuple[str, type, int], *ops: Callable[[Any, Any], Any]) -> Case:
    """Operators of a vector with a vector, their results side by side."""
    vec, dtype, n = kind
    nbytes = n * np.dtype(dtype).itemsize

    def body(v: InstructionSet) -> Body:
        x = v.Vec(vec, n)
        every = v.map_parts(len(ops), lambda i: _operator(v, ops[i], nbytes * i))
        return lambda p, out: every(v.load(x, p), v.load(x, p + 128), out)

    reference: Callable[[Array], Array] = lambda x: np.concatenate([op(*two(x, dtype, n)) for op in ops])  # noqa: E731
    return Case(f"operators of {vec}x{n}", body, reference, floats=dtype is F)


def _rounded(v: InstructionSet, name: str) -> Body:
    f = getattr(v, name)
    return v.jitable(lambda p, out: v.store(out, f(v.load(v.f32x8, p), v.load(v.f32x8, p + 128))))


def _operator(v: InstructionSet, op: Callable[[Any, Any], Any], place: int) -> Body:
    combine = v.jitable(op)
    return lambda x, y, out: v.store(out + place, combine(x, y))


TABLE = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
FLOAT_OPERATORS = (lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / b)
INT_OPERATORS = (*FLOAT_OPERATORS[:3], lambda a, b: a & b, lambda a, b: a | b, lambda a, b: a ^ b)
CASES = [
    *(operators(kind, *INT_OPERATORS) for kind in (I8, B32, S16)),
    *(operators(kind, *FLOAT_OPERATORS) for kind in (F8, F16)),
    Case("operator << and >>", lambda v: lambda p, out: v.store(out, (v.load(v.i32x8, p) << 5) >> 7),
         lambda x: (at(x, np.uint32, 0, 8) << 5) >> 7),
    Case("operator * int", lambda v: lambda p, out: v.store(out, v.load(v.f32x8, p) * 3),
         lambda x: at(x, F, 0, 8) * F(3), floats=True),
    Case("operator + float", lambda v: lambda p, out: v.store(out, v.load(v.f32x8, p) + v.load_f32(p + 64)),
         lambda x: at(x, F, 0, 8) + at(x, F, 64, 1), floats=True),
    Case("zero", lambda v: lambda p, out: v.store(out, v.zero(v.f32x8)), lambda x: np.zeros(8, F)),
    Case("splat int", lambda v: lambda p, out: v.store(out, v.splat(v.i8x32, v.load_i8(p))),
         lambda x: np.repeat(x[:1], 32)),
    Case("splat float", lambda v: lambda p, out: v.store(out, v.splat(v.f32x8, v.load_i8(p))),
         lambda x: np.repeat(x[:1].view(B).astype(F), 8)),
    Case("bitcast", lambda v: lambda p, out: v.store(out, v.bitcast(v.i8x32, v.load(v.i32x8, p))), lambda x: x[:32]),
    Case("truncate", lambda v: lambda p, out: v.store(out, v.truncate(v.i8x16, v.load(v.i16x16, p))),
         lambda x: x[:32:2]),
    Case("widen_unsigned", lambda v: lambda p, out: v.store(out, v.widen_unsigned(v.i16x16, v.load(v.i8x16, p))),
         lambda x: x[:16].astype(np.int16)),
    Case("widen_signed", lambda v: lambda p, out: v.store(out, v.widen_signed(v.i16x16, v.load(v.i8x16, p))),
         lambda x: x[:16].view(B).astype(np.int16)),
    Case("join", lambda v: lambda p, out: v.store(out, v.join(v.load(v.i8x16, p + 7), v.load(v.i8x16, p))),
         lambda x: np.concatenate([x[7:23], x[:16]])),
    Case("slice_of", lambda v: _sliced(v), lambda x: at(x, F, 12, 4)),
    Case("splat_of", lambda v: _spread(v), lambda x: np.repeat(at(x, I32, 20, 1), 8)),
    Case("splat_lane", lambda v: lambda p, out: v.store(out, v.splat_lane(v.load(v.i32x8, p), v.load_i8(p) & 7)),
         lambda x: np.repeat(at(x, I32, 0, 8)[x[0] & 7], 8)),
    Case("dot2", lambda v: lambda p, out: v.store(
        out, v.dot2(v.load(v.i32x8, p), v.load(v.i16x16, p + 8), v.load(v.i16x16, p + 24))),
         lambda x: at(x, I32, 0, 8) + (at(x, np.int16, 8, 16).astype(I32) * at(x, np.int16, 24, 16)).reshape(8, 2).sum(
             1, dtype=I32)),
    Case("iota", lambda v: lambda p, out: v.store(out, v.iota(v.i32x8, v.load_i8(p))),
         lambda x: np.arange(8, dtype=I32) * x[:1].view(B)),
    Case("bits_of", lambda v: lambda p, out: v.store(out, v.bits_of(v.load_f32(p))),
         lambda x: at(x, np.uint32, 0, 1).astype(L)),
    Case("lookup16", lambda v: _looked_up(v), lambda x: np.array(TABLE, B)[x[:32] & 15]),
    Case(
        "zip_lanes",
        lambda v: lambda p, out: v.store(out, v.zip_lanes(v.load(v.i32x8, p), v.load(v.i32x8, p + 36))),
        lambda x: np.stack([at(x, I32, 0, 8), at(x, I32, 36, 8)], axis=1).ravel(),
    ),
    unary("swap_pairs", "swap_pairs", I8, lambda x: x.reshape(-1, 2)[:, ::-1].ravel()),
    unary("low_half", "low_half", I8, lambda x: x[:4]),
    unary("high_half", "high_half", I8, lambda x: x[4:]),
    unary("spread_4_bits", "spread_4_bits", I8, lambda x: spread(x).ravel()),
    Case("mul_round", lambda v: lambda p, out: v.store(out, v.mul_round(v.load(v.i16x16, p), v.load(v.i16x16, p + 32))),
         lambda x: ((at(x, np.int16, 0, 16).astype(I32) * at(x, np.int16, 32, 16) + (1 << 14)) >> 15).astype(np.int16)),
    Case("shift_signed", lambda v: lambda p, out: v.store(out, v.shift_signed(v.load(v.i32x8, p), 11)),
         lambda x: at(x, I32, 0, 8) >> 11),
    Case("shift_bytes", lambda v: lambda p, out: v.store(out, v.shift_bytes(v.load(v.i8x32, p), 5) & 7),
         lambda x: x[:32] >> 5),
    unary("nibbles", "nibbles", ("i8", B, 16), nibbles),
    Case("fma", lambda v: lambda p, out: v.store(out, v.fma(  # rounds twice where the machine has no such instruction
         v.absolute(v.load(v.f32x8, p)), v.absolute(v.load(v.f32x8, p + 128)), v.absolute(v.load(v.f32x8, p + 64)))),
         lambda x: np.abs(at(x, F, 0, 8).astype(np.float64) * at(x, F, 128, 8)) + np.abs(at(x, F, 64, 8)),
         floats=True, rtol=1.3e-7),
    Case("sqrt", lambda v: lambda p, out: v.store(out, v.sqrt(v.absolute(v.load(v.f32x8, p)))),
         lambda x: np.sqrt(np.abs(at(x, F, 0, 8))), floats=True),
    Case("sqrt scalar", lambda v: lambda p, out: v.store(out, v.sqrt(v.load_f32(p) * v.load_f32(p))),
         lambda x: np.sqrt(at(x, F, 0, 1) * at(x, F, 0, 1)), floats=True),
    unary("round_even", "round_even", F8, np.rint, floats=True),
    Case("to_i32", lambda v: lambda p, out: v.store(out, v.to_i32(v.i32x8, v.minimum(v.maximum(
         v.load(v.f32x8, p), v.splat(v.f32x8, -2e9)), v.splat(v.f32x8, 2e9)))),
         lambda x: np.trunc(at(x, F, 0, 8).clip(-2e9, 2e9)).astype(I32), floats=True),
    unary("absolute", "absolute", F8, np.abs),
    Case("maximum float",
         lambda v: lambda p, out: v.store(out, v.maximum(v.load(v.f32x8, p), v.load(v.f32x8, p + 128))),
         lambda x: picked(*two(x, F, 8), np.greater(*two(x, F, 8)))),
    Case("maximum int", lambda v: lambda p, out: v.store(out, v.maximum(v.load(v.i32x8, p), v.load(v.i32x8, p + 128))),
         lambda x: np.maximum(*two(x, I32, 8))),
    Case("minimum", lambda v: lambda p, out: v.store(out, v.minimum(v.load(v.f32x8, p), v.load(v.f32x8, p + 128))),
         lambda x: picked(*two(x, F, 8), np.less(*two(x, F, 8)))),
    *(Case(name, lambda v, name=name: _rounded(v, name),
           lambda x, op=op: op(*two(x, F, 8)), floats=True)
      for name, op in (("mul_exact", np.multiply), ("div_exact", np.divide), ("sub_exact", np.subtract))),
    Case("select_gt of bytes", lambda v: lambda p, out: v.store(out, v.select_gt(
         v.load(v.i8x32, p), v.load(v.i8x32, p + 128), v.load(v.i8x32, p + 64), v.load(v.i8x32, p + 192))),
         lambda x: np.where(np.greater(*two(x, B, 32)), at(x, B, 64, 32), at(x, B, 192, 32))),
    Case("select_gt", lambda v: lambda p, out: v.store(out, v.select_gt(
         v.load(v.f32x8, p), v.load(v.f32x8, p + 128), v.load(v.f32x8, p + 64), v.load(v.f32x8, p + 192))),
         lambda x: np.where(np.greater(*two(x, F, 8)), at(x, F, 64, 8), at(x, F, 192, 8))),
    unary("reduce_min", "reduce_min", F8, lambda x: halved(x, np.minimum), floats=True),
    unary("reduce_add float", "reduce_add", F16, lambda x: halved(x, np.add), floats=True),
    unary("reduce_add int", "reduce_add", I8, lambda x: halved(x, np.add)),
    unary("reduce_max float", "reduce_max", F8, lambda x: halved(x, np.maximum), floats=True),
    unary("reduce_max int", "reduce_max", I16, lambda x: halved(x, np.maximum)),
    Case("as_f32", lambda v: lambda p, out: v.store(out, v.as_f32(v.load_i64(p))), lambda x: at(x, F, 0, 1)),
    loads("load", "i8", B, 32, lambda x: x[:32].view(B), offset=5),
    Case("store", lambda v: lambda p, out: v.store(out + 3, v.load_f32(p)),
         lambda x: np.append(np.zeros(3, np.uint8), x[:4])),
    scalar("load_i64", L), scalar("load_i32", I32), scalar("load_i8", B), scalar("load_u16", np.uint16),
    Case("load_f32", lambda v: lambda p, out: v.store(out, v.load_f32(p + 1)), lambda x: at(x, F, 1, 1)),
    loads("load_splat", "f32", F, 8, lambda x: np.repeat(at(x, F, 0, 1), 8), offset=3),
    loads("load_lane", "i32", I32, 8, lambda x: np.append(at(x, I32, 0, 1), [0] * 7), offset=1),
    loads("load_two_lanes", "i32", I32, 16, lambda x: np.kron(at(x, I32, 0, 2), [1] + [0] * 7)),
    Case("load_two_splats", lambda v: lambda p, out: v.store(out, v.load_two_splats(v.f32x8, p, p + 9)),
         lambda x: np.repeat([*at(x, F, 0, 1), *at(x, F, 9, 1)], 4)),
    loads("load_splat4", "i8", B, 64, lambda x: np.tile(x[:4].view(B), 16), offset=3),
    Case("load_column", lambda v: lambda p, out: v.store(out, v.load_column(v.i32x8, p, 18)),
         lambda x: rows_of(x, stride=18)[:, 0]),
    Case("load_indexed", lambda v: _indexed(v), lambda x: at(x, I32, 64, 16)[at(x, np.int16, 0, 8) & 15]),
    loads("load_spread_bits", "i8", B, 32, lambda x: -np.unpackbits(x[:4], bitorder="little").astype(B)),
    loads("load_two_halves", "f32", F, 8, lambda x: np.repeat(x[:2].view(B), 4), offset=1),
    *(Case(f"load_rows {j}", lambda v, j=j: lambda p, out: v.store(out, v.load_rows(v.i32x8, p, 29)[j]),
           lambda x, j=j: rows_of(x)[:, j]) for j in range(4)),
    Case("load_rows wide", lambda v: _wide_rows(v), lambda x: rows_of(x, 16, 13)[:, 2]),
    Case("to_f32 of int", lambda v: lambda p, out: v.store(out, v.to_f32(v.f32x8, v.load(v.i32x8, p))),
         lambda x: at(x, I32, 0, 8).astype(F)),
    Case("load_f16", lambda v: lambda p, out: v.store(out, v.load_f16(p + 1)), lambda x: at(x, H, 1, 1).astype(F)),
    loads("load_f16_splat", "f32", F, 8, lambda x: np.repeat(at(x, H, 0, 1), 8).astype(F), offset=1),
    Case("load_f16_column", lambda v: lambda p, out: v.store(out, v.load_f16_column(v.f32x8, p, 21)),
         lambda x: np.concatenate([at(x, H, 21 * r, 1) for r in range(8)]).astype(F)),
    Case("take_work", lambda v: lambda p, out: v.store(out, v.take_work(out + 8, 5) + v.take_work(out + 8, 7)),
         lambda x: np.array([5, 12], L)),
    Case("atomic_add", lambda v: lambda p, out: v.store(out, v.atomic_add(out + 8, v.load_i64(p))),
         lambda x: np.append(L(0), at(x, L, 0, 1))),
    Case("atomic_load", lambda v: lambda p, out: v.store(out, v.atomic_load(p + 8)), lambda x: at(x, L, 8, 1)),
    Case("atomic_compare_exchange", lambda v: _exchanges(v), lambda x: np.array([1, 0, 7], L)),
    Case("atomic_store", lambda v: lambda p, out: v.atomic_store(out, v.load_i64(p)), lambda x: at(x, L, 0, 1)),
    Case("copies_of", lambda v: _copied(v), lambda x: np.repeat(x[:8], 4)),
    Case("negate", lambda v: _negated(v),
         lambda x: ((x[:32] | 1) * (1 - 2 * np.unpackbits(x[128:132], bitorder="little"))).astype(B)),
    Case("forget_memory", lambda v: lambda p, out: v.forget_memory(), lambda x: np.zeros(1, F)),
    Case("hide", lambda v: lambda p, out: v.store(out, v.hide(v.load_i64(p))), lambda x: at(x, L, 0, 1)),
    Case("prefetch", lambda v: lambda p, out: v.prefetch(p), lambda x: np.zeros(1, F)),
    Case("pause", lambda v: lambda p, out: v.pause(), lambda x: np.zeros(1, F)),
]  # fmt: skip


def _exchanges(v: InstructionSet) -> Body:
    def body(p, out):
        v.store(out, v.atomic_compare_exchange(out + 16, 0, 7))
        v.store(out + 8, v.atomic_compare_exchange(out + 16, 5, 9))

    return body


def _looked_up(v: InstructionSet) -> Body:
    found = v.lookup16(TABLE)
    return lambda p, out: v.store(out, found(v.load(v.i8x32, p) & 15))


def _indexed(v: InstructionSet) -> Body:
    i16x8 = v.Vec("i16", 8)

    def body(p, out):
        v.store(out + 64, v.load(i16x8, p) & 15)
        v.forget_memory()
        v.store(out, v.load_indexed(v.i32x8, p + 64, out + 64))

    return body


def _copied(v: InstructionSet) -> Body:
    four, i8x8 = v.copies_of(4), v.Vec("i8", 8)
    return lambda p, out: v.store(out, four(v.load(i8x8, p)))


def _negated(v: InstructionSet) -> Body:
    return lambda p, out: v.store(out, v.negate(v.load(v.i8x32, p) | 1, v.load_spread_bits(v.i8x32, p + 128)))


def _sliced(v: InstructionSet) -> Body:
    part = v.slice_of(3, 4)
    return lambda p, out: v.store(out, part(v.load(v.f32x8, p)))


def _wide_rows(v: InstructionSet) -> Body:
    i32x16 = v.Vec("i32", 16)
    return lambda p, out: v.store(out, v.load_rows(i32x16, p, 13)[2])


def _spread(v: InstructionSet) -> Body:
    one = v.splat_of(5)
    return lambda p, out: v.store(out, one(v.load(v.i32x8, p)))
