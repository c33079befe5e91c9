"""x86-64 with AVX2: 256-bit vectors; bytes are multiplied by `vpmaddubsw` and widened by `vpmaddwd`.

`vpmaddubsw` adds pairs of products into int16 and saturates, so how many of its results may be added before widening
depends on the weights' bits: 2^bits * 127 * 2 * sums must stay below 2^15.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import llvmlite.ir as ir
from numba.core import types

from ..simd import few_tokens
from ..simd.arithmetic import *
from ..simd.float16 import *
from ..simd.load_store import *
from ..simd.load_store import load_splat4
from ..simd.unroll import *
from ..simd.unroll import tuple_get, unroll_fold
from ..simd.vector import *
from ..simd.vector import (
    Vec,
    call,
    i16x16,
    i32x8,
    intrinsic,
    jitable,
    joined,
    pieces,
    returns,
    same_as_first,
)
from .lanes8 import *
from .lanes8 import i8, token_by_token
from .rows import keep_narrow, narrow_scale

keep_row_scales, row_scale = keep_narrow, narrow_scale
TOKENS = FLOAT_TOKENS = 4
FLOAT_TILES = 2  # 8 sums for 6 loads, with one tile 4 for 5
FEW_TOKENS = few_tokens.FEW_TOKENS["avx2"]
PROOF = "vpmaddubsw"
PRODUCTS = {4: 8, 5: 4, 6: 2, 7: 1, 8: 1}


@intrinsic(returns(i16x16))
def _maddubs(b: Any, t: Any, w: Any, x: Any) -> Any:
    """Pairs of products uint8 * int8, added into int16 with saturation."""
    return call(b, "llvm.x86.avx2.pmadd.ub.sw", i16x16.ir, w, x)


@intrinsic(returns(i32x8))
def _widen_pairs(b: Any, t: Any, x: Any) -> Any:
    """Pairs of int16 added into int32."""
    return call(b, "llvm.x86.avx2.pmadd.wd", i32x8.ir, x, i16x16.lanes([1] * 16))


@intrinsic(same_as_first)
def _magnitude_bytes(b: Any, t: Any, x: Any) -> Any:
    """Magnitudes of int8 lanes, as uint8."""
    zero = t[0].lanes([0] * t[0].n)
    return b.select(b.icmp_signed("<", x, zero), b.sub(zero, x), x)


@intrinsic(same_as_first)
def _sign_bytes(b: Any, t: Any, x: Any, w: Any) -> Any:
    """`x` with the sign of `w`, 0 where `w` is 0."""
    return call(b, "llvm.x86.avx2.psign.b", x.type, x, w)


@jitable
def dot4(acc, w, x):
    """acc (int32) + sums of 4 products of bytes: `w` 0..127, `x` -127..127."""
    return acc + _widen_pairs(_maddubs(w, x))


@jitable
def dot4_signed(acc, w, x):
    """As dot4, with `w` -128..127: the sign moves to `x`, so that no pair saturates."""
    return acc + _widen_pairs(_maddubs(_magnitude_bytes(w), _sign_bytes(x, w)))


@intrinsic(same_as_first)
def _negate_by_sign(b: Any, t: Any, x: Any, minus: Any) -> Any:
    """Bytes with another sign where `minus` is all ones, not 0, by `vpsignb`."""
    return call(b, "llvm.x86.avx2.psign.b", x.type, x, b.or_(minus, t[0].lanes([1] * t[0].n)))


negate = _negate_by_sign


def lookup_by_shuffle(values: Sequence[int]) -> Any:
    """The intrinsic `x -> values[x]` for bytes 0..15: `vpshufb` looks up 16 bytes within every 128 bits."""
    names = {16: "ssse3.pshuf.b.128", 32: "avx2.pshuf.b", 64: "avx512.pshuf.b.512"}

    @intrinsic(same_as_first)
    def found(b: Any, t: Any, x: Any) -> Any:
        registers = max(1, t[0].n // 64)
        width = t[0].n // registers
        table = Vec("i8", width).lanes(list(values) * (width // 16))
        parts = pieces(b, x, registers)
        return joined(b, [call(b, f"llvm.x86.{names[width]}", part.type, table, part) for part in parts])

    return found


lookup16 = lookup_by_shuffle


@jitable
def _product(j, weights, x):
    """In int16, of the weights' vector number `j`, 0..127."""
    return _maddubs(tuple_get(weights, j), load_splat4(i8, x + 4 * j))


@jitable
def _signed_product(j, weights, x):
    w = tuple_get(weights, j)
    return _maddubs(_magnitude_bytes(w), _sign_bytes(load_splat4(i8, x + 4 * j), w))


def group_dot(n: int, bits: int, signed: bool) -> Any:
    """The function `(start, weights, x) -> start + n dot4`: `weights` n vectors, `x` the address of 4 n bytes."""
    product, some = _signed_product if signed else _product, max(1, min(n, PRODUCTS[bits]))
    assert n % some == 0
    add = unroll_fold(some - 1, lambda i, total, g, weights, x: total + product(g + i, weights, x), first=1)

    def group(g, start, weights, x):
        g = g * some
        return start + _widen_pairs(add(product(g, weights, x), g, weights, x))

    return unroll_fold(n // some, group)


@intrinsic(returns(types.void))
def pause(b: Any, t: Any) -> Any:
    """Tell the CPU that this thread spins."""
    call(b, "llvm.x86.sse2.pause", ir.VoidType())


tokens_dot = paired_dot = token_by_token(group_dot)
