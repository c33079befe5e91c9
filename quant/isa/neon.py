"""AArch64 with NEON, as every 64-bit ARM has it: bytes are multiplied into int16 (`smull`, `smlal`) and then widened.

Vectors of 256 bits are pairs of registers here. The int16 sums may take as many products as AVX2's: in the end two
neighbours are added (`addp`) before `sadalp` widens, and 2^bits * 127 * 2 * products must stay below 2^15.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import llvmlite.ir as ir
from numba.core import types

from ..simd import few_tokens
from ..simd.arithmetic import *
from ..simd.arithmetic import widen_signed
from ..simd.float16 import *
from ..simd.load_store import *
from ..simd.load_store import load
from ..simd.part import jitable
from ..simd.unroll import *
from ..simd.vector import *
from ..simd.vector import (
    I32,
    Vec,
    call,
    f32x8,
    i8x16,
    i8x32,
    intrinsic,
    joined,
    load_value,
    pieces,
    returns,
    same_as_first,
    shuffle_value,
)
from .lanes8 import *
from .lanes8 import token_by_token
from .rows import keep_wide, shuffled_scale

keep_row_scales = keep_wide
TOKENS = FLOAT_TOKENS = 2  # of a batch at once: with more, sums in int16 leave no register to weights
FEW_TOKENS = few_tokens.FEW_TOKENS["neon"]
PROOF = "smull"
PRODUCTS = {4: 8, 5: 4, 6: 2, 7: 1, 8: 1}
i16x32 = Vec("i16", 32)
I32X4, I16X8 = ir.VectorType(I32, 4), ir.VectorType(ir.IntType(16), 8)


@intrinsic(same_as_first)
def _add_fours(b: Any, t: Any, acc: Any, products: Any) -> Any:
    """acc (int32) + sums of 4 neighbours, int16, of which the sum of 2 is an int16 still."""
    parts = pieces(b, products, t[1].n // 8)
    twos = [call(b, "llvm.aarch64.neon.addp.v8i16", I16X8, *parts[i : i + 2]) for i in range(0, len(parts), 2)]
    fours = [call(b, "llvm.aarch64.neon.saddlp.v4i32.v8i16", I32X4, two) for two in twos]
    return b.add(acc, joined(b, fours))


def fours_of(lane: int) -> Any:
    """The intrinsic `x -> 32 bytes, again and again the 4 in this lane of x`, for x of 16 bytes.

    LLVM must not see that halves of a register are equal, hence the empty assembly: it would multiply by one of them,
    and move the upper halves of the weights down, which `smull2` reads where they are.
    """

    @intrinsic(returns(i8x32))
    def copies(b: Any, t: Any, x: Any) -> Any:
        fours = b.bitcast(x, I32X4)
        copy = b.bitcast(shuffle_value(b, fours, fours, [lane] * 4), x.type)
        opaque = b.asm(ir.FunctionType(x.type, [x.type]), "", "=w,0", [copy], False)
        return joined(b, [opaque, opaque])

    return copies


@jitable
def dot4(acc, w, x):
    """acc (int32) + sums of 4 products of bytes: `w` -128..127, `x` -127..127."""
    return _add_fours(acc, widen_signed(i16x32, w) * widen_signed(i16x32, x))


dot4_signed = dot4


def _products(first_one: int, n: int) -> Any:
    """Sum in int16 of `n` products, from the weights' vector number `first_one` on."""
    j = first_one + n - 1
    fours, at = fours_of(j % 4), j // 4 * 16

    @jitable
    def last(weights, x):
        return widen_signed(i16x32, weights[j]) * widen_signed(i16x32, fours(load(i8x16, x + at)))

    if n == 1:
        return last
    before = _products(first_one, n - 1)
    return jitable(lambda weights, x: before(weights, x) + last(weights, x))


def group_dot(n: int, bits: int) -> Any:
    """The function `(start, weights, x) -> start + n dot4`: `weights` n vectors, `x` the address of 4 n bytes."""
    if n == 0:
        return jitable(lambda start, weights, x: start)
    some = min(n, PRODUCTS[bits])
    before, products = group_dot(n - some, bits), _products(n - some, some)
    return jitable(lambda start, weights, x: _add_fours(before(start, weights, x), products(weights, x)))


tokens_dot = paired_dot = token_by_token(lambda n, bits, signed: group_dot(n, bits))


def lanes_by_scale(n: int) -> list[int]:
    """The lanes of group n's scales, straight where `fmla` can read them."""
    return [n] * 4 + [8 + n] * 4


row_scale = shuffled_scale(f32x8, [lanes_by_scale(n) for n in range(8)])


@intrinsic(same_as_first)
def _load_tested_bits(b: Any, t: Any, kind: Any, p: Any) -> Any:
    """Bit i of the bytes at address `p` as lane i: 0, or all ones. Every lane tests its bit in its byte (`cmtst`)."""
    n, byte = t[0].n, ir.IntType(8)
    some = load_value(b, p, ir.VectorType(byte, n // 8))
    copies = shuffle_value(b, some, some, [i // 8 for i in range(n)])
    tested = b.and_(copies, ir.Constant(t[0].ir, [1 << i % 8 for i in range(n)]))
    return b.sext(b.icmp_unsigned("!=", tested, t[0].lanes([0] * n)), t[0].ir)


load_spread_bits = _load_tested_bits


def lookup_by_table(values: Sequence[int]) -> Any:
    """The intrinsic `x -> values[x]` for bytes 0..15, by `tbl`."""

    @intrinsic(same_as_first)
    def found(b: Any, t: Any, x: Any) -> Any:
        table, parts = i8x16.lanes(values), pieces(b, x, t[0].n // 16)
        return joined(b, [call(b, "llvm.aarch64.neon.tbl1.v16i8", i8x16.ir, table, part) for part in parts])

    return found


lookup16 = lookup_by_table


@intrinsic(returns(types.void))
def pause(b: Any, t: Any) -> Any:
    """Tell the CPU that this thread spins: `isb` waits long enough, `yield` is nothing on most cores."""
    call(b, "llvm.aarch64.isb", ir.VoidType(), I32(15))
