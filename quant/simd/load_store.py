"""The intrinsics for memory: how kernels read and write at int64 addresses. Independent of any format's layout."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import llvmlite.ir as ir
from numba.core import types
from numba.core.cgutils import get_or_insert_function, global_constant
from numba.core.types.containers import UniTuple

from .vector import (
    ELEMENTS,
    I32,
    intrinsic,
    joined,
    load_value,
    pointer,
    returns,
    same_as_first,
    shuffle_value,
    splat_value,
)


@intrinsic(same_as_first)
def load(b: Any, t: Any, kind: Any, p: Any) -> Any:
    """The vector at address `p`, of any alignment."""
    return load_value(b, p, t[0].ir)


@intrinsic(returns(types.void))
def store(b: Any, t: Any, p: Any, x: Any) -> Any:
    """Write a vector or scalar to address `p`, of any alignment."""
    b.store(x, pointer(b, p, x.type)).align = 1


@intrinsic(returns(types.int64))
def load_i64(b: Any, t: Any, p: Any) -> Any:
    """The int64 at address `p`."""
    return load_value(b, p, ELEMENTS["i64"])


@intrinsic(returns(types.int64))
def load_i32(b: Any, t: Any, p: Any) -> Any:
    """The int32 at address `p`, sign-extended."""
    return b.sext(load_value(b, p, I32), ELEMENTS["i64"])


@intrinsic(returns(types.int64))
def load_i8(b: Any, t: Any, p: Any) -> Any:
    """The int8 at address `p`, sign-extended."""
    return b.sext(load_value(b, p, ELEMENTS["i8"]), ELEMENTS["i64"])


@intrinsic(returns(types.int64))
def load_u16(b: Any, t: Any, p: Any) -> Any:
    """The uint16 at address `p`."""
    return b.zext(load_value(b, p, ELEMENTS["i16"]), ELEMENTS["i64"])


@intrinsic(returns(types.float32))
def load_f32(b: Any, t: Any, p: Any) -> Any:
    """The float32 at address `p`."""
    return load_value(b, p, ELEMENTS["f32"])


@intrinsic(same_as_first)
def load_splat(b: Any, t: Any, kind: Any, p: Any) -> Any:
    """All lanes hold the one element at address `p`."""
    return splat_value(b, t[0].ir, load_value(b, p, t[0].ir.element))


@intrinsic(same_as_first)
def load_lane(b: Any, t: Any, kind: Any, p: Any) -> Any:
    """Lane 0 holds the element at address `p`, the others 0."""
    return b.insert_element(t[0].lanes([0] * t[0].n), load_value(b, p, t[0].ir.element), I32(0))


@intrinsic(same_as_first)
def load_two_lanes(b: Any, t: Any, kind: Any, p: Any) -> Any:
    """The first lanes of both halves hold the two elements at address `p`, the others 0."""
    pair, n = load_value(b, p, ir.VectorType(t[0].ir.element, 2)), t[0].n
    lanes = [0] + [2] * (n // 2 - 1) + [1] + [2] * (n // 2 - 1)
    return shuffle_value(b, pair, ir.Constant(pair.type, [0, 0]), lanes)


@intrinsic(same_as_first)
def load_two_splats(b: Any, t: Any, kind: Any, p: Any, q: Any) -> Any:
    """The element at address `p` in the first half of the lanes, the one at `q` in the second half."""
    n, x, y = t[0].n, *(splat_value(b, t[0].ir, load_value(b, at, t[0].ir.element)) for at in (p, q))
    return shuffle_value(b, x, y, [*range(n // 2), *range(n + n // 2, 2 * n)])


@intrinsic(same_as_first)
def load_splat4(b: Any, t: Any, kind: Any, p: Any) -> Any:
    """Every 32-bit lane of an int8 vector holds the same 4 bytes, those at address `p`."""
    dwords = ir.VectorType(I32, t[0].n // 4)
    return b.bitcast(splat_value(b, dwords, load_value(b, p, I32)), t[0].ir)


@intrinsic(same_as_first)
def load_column(b: Any, t: Any, kind: Any, p: Any, stride: Any) -> Any:
    """Lane r holds the element at `p + r * stride`."""
    vec, value = t[0].ir, ir.Constant(t[0].ir, ir.Undefined)
    for r in range(t[0].n):
        at = b.add(p, b.mul(stride, ELEMENTS["i64"](r)))
        value = b.insert_element(value, load_value(b, at, vec.element), I32(r))
    return value


@intrinsic(same_as_first)
def load_indexed(b: Any, t: Any, kind: Any, p: Any, indices: Any) -> Any:
    """Lane i holds an element of the table at address `p`, the one whose number is the i-th uint16 at `indices`."""
    vec, i64, value = t[0].ir, ELEMENTS["i64"], ir.Constant(t[0].ir, ir.Undefined)
    for i in range(t[0].n):
        number = b.zext(load_value(b, b.add(indices, i64(2 * i)), ELEMENTS["i16"]), i64)
        at = b.add(p, b.mul(number, i64(vec.element.width // 8)))
        value = b.insert_element(value, load_value(b, at, vec.element), I32(i))
    return value


@intrinsic(returns(types.void))
def forget_memory(b: Any, t: Any) -> Any:
    """Compute nothing, but read what was stored before from memory: LLVM would turn that into shuffles."""
    b.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], True)


@intrinsic(returns(types.int64))
def hide(b: Any, t: Any, n: Any) -> Any:
    """`n`, while LLVM sees no constant: a loop of so many rounds is not unrolled."""
    i64 = ELEMENTS["i64"]
    return b.asm(ir.FunctionType(i64, [i64]), "", "=r,0", [n], False)


@intrinsic(same_as_first)
def load_spread_bits(b: Any, t: Any, kind: Any, p: Any) -> Any:
    """Bit i of the bytes at address `p` as lane i: 0, or all ones."""
    n = t[0].n
    bits = b.bitcast(load_value(b, p, ir.IntType(n)), ir.VectorType(ir.IntType(1), n))
    return b.sext(bits, t[0].ir)


@intrinsic(same_as_first)
def load_two_halves(b: Any, t: Any, kind: Any, p: Any) -> Any:
    """The int8 at address `p` as float32 in the first half of the lanes, the next one in the second half."""
    n, pair = (
        t[0].n // 2,
        b.sitofp(load_value(b, p, ir.VectorType(ELEMENTS["i8"], 2)), ir.VectorType(ELEMENTS["f32"], 2)),
    )
    return shuffle_value(b, pair, pair, [0] * n + [1] * n)


@intrinsic(lambda kind, p, stride: UniTuple(kind, 4))
def load_rows(b: Any, t: Any, kind: Any, p: Any, stride: Any) -> Any:
    """16 bytes of as many rows as the int32 vector has lanes, transposed: vector j holds dword j of every row."""
    n, quads = t[0].n, []
    for r in range(n):
        at = b.add(p, b.mul(stride, ELEMENTS["i64"](r)))
        quads.append(load_value(b, at, ir.VectorType(I32, 4)))
    columns = _transpose(b, [joined(b, quads[r::4]) for r in range(4)])
    out = ir.Constant(ir.ArrayType(t[0].ir, 4), ir.Undefined)
    for j, column in enumerate(columns):
        out = b.insert_value(out, column, j)
    return out


def _transpose(b: Any, rows: list[Any]) -> list[Any]:
    """Four vectors of four dwords for each 128 bits -> their columns, by the usual two rounds of interleaving.

    No dword leaves its 128 bits, so that a shuffle of a whole register serves them all.
    """
    n = rows[0].type.count

    def both(x: Any, y: Any, lanes: list[int]) -> Any:
        return shuffle_value(b, x, y, [i % 4 + n * (i // 4) + at for at in range(0, n, 4) for i in lanes])

    r0, r1, r2, r3 = rows
    low01, high01 = both(r0, r1, [0, 4, 1, 5]), both(r0, r1, [2, 6, 3, 7])
    low23, high23 = both(r2, r3, [0, 4, 1, 5]), both(r2, r3, [2, 6, 3, 7])
    pairs = [(low01, low23), (high01, high23)]
    return [both(x, y, lanes) for x, y in pairs for lanes in ([0, 1, 4, 5], [2, 3, 6, 7])]


def table(data: bytes) -> Any:
    """The intrinsic `() -> address` of a copy of `data` that becomes part of the kernel."""
    name = f"table_{sha256(data).hexdigest()[:16]}"

    @intrinsic(returns(types.int64))
    def address(b: Any, t: Any) -> Any:
        value = ir.Constant(ir.ArrayType(ELEMENTS["i8"], len(data)), bytearray(data))
        found = b.module.globals.get(name) or global_constant(b.module, name, value)
        return b.ptrtoint(found, ELEMENTS["i64"])

    return address


@intrinsic(returns(types.void))
def prefetch(b: Any, t: Any, p: Any) -> Any:
    """Ask for the cache line at address `p`."""
    byte = pointer(b, p, ELEMENTS["i8"])
    fn = get_or_insert_function(
        b.module, ir.FunctionType(ir.VoidType(), [byte.type, I32, I32, I32]), "llvm.prefetch.p0"
    )
    b.call(fn, [byte, I32(0), I32(3), I32(1)])


@intrinsic(returns(types.int64))
def take_work(b: Any, t: Any, counter: Any, n: Any) -> Any:
    """Take `n` pieces of work from the counter at an address; the result is the first of them."""
    return b.atomic_rmw("add", pointer(b, counter, ELEMENTS["i64"]), n, "monotonic")
