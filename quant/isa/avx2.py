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
from ..simd.part import jitable
from ..simd.unroll import *
from ..simd.unroll import element, tuple_get, unroll_fold, unroll_map
from ..simd.vector import *
from ..simd.vector import Vec, call, i16x16, i32x8, intrinsic, joined, load_value, pieces, returns, same_as_first
from .lanes8 import *
from .lanes8 import i8
from .rows import keep_narrow, narrow_scale

keep_row_scales, row_scale = keep_narrow, narrow_scale
TOKENS = FLOAT_TOKENS = 4
FLOAT_TILES = 2  # 8 sums for 6 loads, with one tile 4 for 5
FEW_TOKENS = few_tokens.FEW_TOKENS["avx2"]
PAIRS = True
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


_addresses = unroll_map(8, lambda j, p: p + 32 * j)


@jitable
def _tile_weights(p):
    """Addresses: weights are loaded where they are multiplied."""
    return _addresses(p)


tile_weights = _tile_weights


@intrinsic(lambda values, i: i8 if isinstance(values.dtype, types.Integer) else values.dtype)
def _weight(b: Any, t: Any, values: Any, i: Any) -> Any:
    """Vector `i` of a tuple, or what lies at address `i` of a tuple."""
    value = element(b, t, values, i)
    return load_value(b, value, i8.ir) if isinstance(t[0].dtype, types.Integer) else value


@jitable
def _product(j, weights, x):
    """In int16, of the weights' vector number `j`, 0..127."""
    return _maddubs(_weight(weights, j), load_splat4(i8, x + 4 * j))


@jitable
def _signed_product(j, weights, x):
    w = _weight(weights, j)
    return _maddubs(_magnitude_bytes(w), _sign_bytes(load_splat4(i8, x + 4 * j), w))


@intrinsic(same_as_first)
def _in_order(b: Any, t: Any, values: Any, weights: Any) -> Any:
    """A tuple of vectors as it is; LLVM reads nothing earlier than it is read, and adds in this order.

    Only where weights come from memory: those in registers are better left to LLVM.
    """
    if not isinstance(t[1].dtype, types.Integer):
        return values
    n, kind = t[0].count, t[0].dtype.ir
    both = ir.LiteralStructType([kind] * n) if n > 1 else kind
    numbers = ",".join([*["=x"] * n, *map(str, range(n)), "~{memory}"])
    given = [b.extract_value(values, i) for i in range(n)]
    passed = b.asm(ir.FunctionType(both, [kind] * n), "", numbers, given, True)
    for i in range(n):
        values = b.insert_value(values, b.extract_value(passed, i) if n > 1 else passed, i)
    return values


def _more_products(tokens: int, n: int, product: Any) -> Any:
    """`(totals, first, weights, x, stride)` -> totals (int16) + n products with vectors from number `first` on.

    A vector of weights goes to all tokens before the next. Token by token, additions that wait for their products fill
    the scheduler, and some of them take the one pipe (of Zen 1) that multiplies.
    """
    every = unroll_map(tokens, lambda t, j, totals, w, x, stride: tuple_get(totals, t) + product(j, w, x + t * stride))
    return unroll_fold(n, lambda i, totals, j, w, x, stride: every(j + i, _in_order(totals, w), w, x, stride))


@jitable
def _add_widened(t, sums, totals):
    return tuple_get(sums, t) + _widen_pairs(tuple_get(totals, t))


def tokens_dot(tokens: int, n: int, bits: int, signed: bool) -> Any:
    """`(sums, weights, x, stride)` -> sums + n dot4 for each token: `weights` n vectors, `x` the first one's bytes."""
    product, some = _signed_product if signed else _product, max(1, min(n, PRODUCTS[bits]))
    assert n % some == 0
    start = unroll_map(tokens, lambda t, j, w, x, stride: product(j, w, x + t * stride))
    more, widen = _more_products(tokens, some - 1, product), unroll_map(tokens, _add_widened)

    def group(g, sums, w, x, stride):
        g = g * some
        return widen(sums, more(start(g, w, x, stride), g + 1, w, x, stride))

    return unroll_fold(n // some, group)


def _pairs_dot(tokens: int, n: int) -> Any:
    """`(pairs, weights, x, stride)` -> n dot4 of 6 bits less 32 for each token, n 4 at most.

    Such a weight is -32 .. 31, so the sum of 8 products fits 16 bits, whatever overflows on the way: it starts from
    minus 32 times the sums of activations that a lane sees, at `pairs`.
    """
    start = unroll_map(tokens, lambda t, at, stride: bitcast(i16x16, load_splat(i32x8, at + t * stride)))
    more = _more_products(tokens, n, _product)
    widen = unroll_map(tokens, lambda t, totals: _widen_pairs(tuple_get(totals, t)))
    return jitable(lambda pairs, w, x, stride: _in_order(widen(more(start(pairs, stride), 0, w, x, stride)), w))


@intrinsic(returns(types.void))
def pause(b: Any, t: Any) -> Any:
    """Tell the CPU that this thread spins."""
    call(b, "llvm.x86.sse2.pause", ir.VoidType())


paired_dot, pairs_dot = tokens_dot, _pairs_dot
