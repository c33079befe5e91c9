"""Products of bytes without VNNI: `vpmaddubsw` multiplies and adds pairs into int16, `vpmaddwd` widens them.

`vpmaddubsw` saturates, so how many of its results may be added before widening depends on the weights' bits:
2^bits * 127 * 2 * sums must stay below 2^15. Vectors may be of several registers; each is taken by itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import llvmlite.ir as ir

from ..simd.arithmetic import bitcast
from ..simd.load_store import hide, load, load_splat, load_splat4
from ..simd.part import jitable
from ..simd.unroll import tuple_get, unroll_fold, unroll_map
from ..simd.vector import Vec, call, i16x16, i32x8, intrinsic, joined, pieces, same_as_first

PRODUCTS = {4: 8, 5: 4, 6: 2, 7: 1, 8: 1}
BYTES = 32  # of a register


def _by_register(b: Any, name: str, result: Any, *vectors: Any) -> Any:
    """LLVM's intrinsic on every register of some vectors that have equally many."""
    registers = vectors[0].type.count * vectors[0].type.element.width // (8 * BYTES)
    parts = zip(*(pieces(b, vector, registers) for vector in vectors), strict=True)
    return joined(b, [call(b, f"llvm.x86.avx2.{name}", result.ir, *part) for part in parts])


@intrinsic(lambda w, x: Vec("i16", w.n // 2))
def maddubs(b: Any, t: Any, w: Any, x: Any) -> Any:
    """Pairs of products uint8 * int8, added into int16 with saturation."""
    return _by_register(b, "pmadd.ub.sw", i16x16, w, x)


@intrinsic(lambda x: Vec("i32", x.n // 2))
def widen_pairs(b: Any, t: Any, x: Any) -> Any:
    """Pairs of int16 added into int32."""
    return _by_register(b, "pmadd.wd", i32x8, x, t[0].lanes([1] * t[0].n))


@intrinsic(same_as_first)
def dot2(b: Any, t: Any, acc: Any, w: Any, x: Any) -> Any:
    """acc (int32) + sums of 2 products of neighbouring int16."""
    return b.add(acc, _by_register(b, "pmadd.wd", i32x8, w, x))


@intrinsic(same_as_first)
def mul_round(b: Any, t: Any, x: Any, y: Any) -> Any:
    """x * y / 2^15 of int16, rounded to nearest."""
    return _by_register(b, "pmul.hr.sw", i16x16, x, y)


@intrinsic(same_as_first)
def magnitude_bytes(b: Any, t: Any, x: Any) -> Any:
    """Magnitudes of int8 lanes, as uint8."""
    zero = t[0].lanes([0] * t[0].n)
    return b.select(b.icmp_signed("<", x, zero), b.sub(zero, x), x)


@intrinsic(same_as_first)
def sign_bytes(b: Any, t: Any, x: Any, w: Any) -> Any:
    """`x` with the sign of `w`, 0 where `w` is 0."""
    return _by_register(b, "psign.b", Vec("i8", BYTES), x, w)


@jitable
def dot4(acc, w, x):
    """acc (int32) + sums of 4 products of bytes: `w` 0..127, `x` -127..127."""
    return acc + widen_pairs(maddubs(w, x))


@jitable
def dot4_signed(acc, w, x):
    """As dot4, with `w` -128..127: the sign moves to `x`, so that no pair saturates."""
    return acc + widen_pairs(maddubs(magnitude_bytes(w), sign_bytes(x, w)))


@intrinsic(same_as_first)
def _in_order(b: Any, t: Any, values: Any) -> Any:
    """A tuple of vectors as it is; LLVM reads nothing earlier than it is read, and adds in this order."""
    n, kind = t[0].count, t[0].dtype
    registers = kind.ir.count * kind.ir.element.width // (8 * BYTES)
    given = [part for i in range(n) for part in pieces(b, b.extract_value(values, i), registers)]
    number, one = len(given), given[0].type
    both = ir.LiteralStructType([one] * number) if number > 1 else one
    numbers = ",".join([*["=x"] * number, *map(str, range(number)), "~{memory}"])
    passed = b.asm(ir.FunctionType(both, [one] * number), "", numbers, given, True)
    out = [b.extract_value(passed, i) if number > 1 else passed for i in range(number)]
    for i in range(n):
        values = b.insert_value(values, joined(b, out[registers * i : registers * (i + 1)]), i)
    return values


class TileProducts(NamedTuple):
    """Those of `InstructionSet` with these names."""

    tokens_dot: Any
    pairs_dot: Any
    sums_dot: Any
    scaled_dot: Any
    signs_dot: Any


def _product_of(i8: Vec, signed: bool, weight: Any) -> tuple[Any, Any]:
    """`(j, weights)`: what is made of vector number j once for all tokens; `(made, x)`: its products, in int16."""
    weight = jitable(weight)
    if not signed:
        return weight, jitable(lambda w, x: maddubs(w, load_splat4(i8, x)))

    def with_magnitudes(j, weights):
        w = weight(j, weights)
        return w, magnitude_bytes(w)

    return jitable(with_magnitudes), jitable(lambda w, x: maddubs(w[1], sign_bytes(load_splat4(i8, x), w[0])))


def _more_products(tokens: int, n: int, made: Any, product: Any) -> Any:
    """`(totals, first, weights, x, stride)` -> totals (int16) + n products with vectors from number `first` on.

    A vector of weights goes to all tokens before the next. Token by token, additions that wait for their products
    fill the scheduler, and some of them take the one pipe (of Zen 1) that multiplies.
    """
    every = unroll_map(tokens, lambda t, totals, w, x, stride: tuple_get(totals, t) + product(w, x + t * stride))

    def step(i, totals, first, weights, x, stride):
        totals, j = _in_order(totals), first + i
        return every(totals, made(j, weights), x + 4 * j, stride)

    return unroll_fold(n, step)


def tile_products(i8: Vec) -> TileProducts:
    """The products of tiles whose vectors of bytes are `i8`; weights are read when they are multiplied, not before."""
    return TileProducts(_tokens_dot(i8), _pairs_dot(i8), _sums_dot(i8), _scaled_dot(i8), _signs_dot(i8))


def _tokens_dot(i8: Vec) -> Any:
    def tokens_dot(tokens: int, n: int, bits: int, signed: bool, weight: Any) -> Any:
        some, (made, product) = max(1, min(n, PRODUCTS[bits])), _product_of(i8, signed, weight)
        assert n % some == 0
        first = unroll_map(tokens, lambda t, w, x, stride: product(w, x + t * stride))
        more = _more_products(tokens, some - 1, made, product)
        widen = unroll_map(tokens, lambda t, sums, totals: tuple_get(sums, t) + widen_pairs(tuple_get(totals, t)))
        alone = unroll_map(
            tokens, lambda t, sums, w, x, stride: tuple_get(sums, t) + widen_pairs(product(w, x + t * stride))
        )

        def group(g, sums, weights, x, stride):
            j = g * some
            totals = first(made(j, weights), x + 4 * j, stride)
            return _in_order(widen(sums, more(totals, j + 1, weights, x, stride)))

        def one(j, sums, weights, x, stride):
            return _in_order(alone(sums, made(j, weights), x + 4 * j, stride))

        return unroll_fold(n // some, group if some > 1 else one)

    return tokens_dot


def _pair_totals(i8: Vec, tokens: int, n: int, weight: Any) -> Any:
    """`(pairs, weights, x, stride)` -> for each token the sums of n products of a weight less 32, in int16.

    Such a weight is -32 .. 31, so the sum of 8 products fits 16 bits, whatever overflows on the way: it starts from
    minus 32 times the sums of activations that a lane sees, at `pairs`.
    """
    i32, i16 = Vec("i32", i8.n // 4), Vec("i16", i8.n // 2)
    start = unroll_map(tokens, lambda t, at, stride: bitcast(i16, load_splat(i32, at + t * stride)))
    more = _more_products(tokens, n, *_product_of(i8, False, weight))
    return jitable(lambda pairs, w, x, stride: more(start(pairs, stride), 0, w, x, stride))


def _pairs_dot(i8: Vec) -> Any:
    def pairs_dot(tokens: int, n: int, weight: Any) -> Any:
        totals = _pair_totals(i8, tokens, n, weight)
        widen = unroll_map(tokens, lambda t, totals: widen_pairs(tuple_get(totals, t)))
        return jitable(lambda pairs, w, x, stride: _in_order(widen(totals(pairs, w, x, stride))))

    return pairs_dot


def _scaled_dot(i8: Vec) -> Any:
    width, i16 = i8.n, Vec("i16", i8.n // 2)

    def scaled_dot(tokens: int, n: int) -> Any:
        found = _pair_totals(i8, tokens, n, lambda j, w: load(i8, w + width * j))
        add = unroll_map(tokens, lambda t, totals, sums, scale: dot2(tuple_get(totals, t), tuple_get(sums, t), scale))

        def run(totals, w, scale, x, pairs, stride):
            sums = found(hide(pairs), w, hide(x), hide(stride))
            return _in_order(add(totals, sums, load(i16, scale)))

        return jitable(run)

    return scaled_dot


def _sums_dot(i8: Vec) -> Any:
    width, i32, i16 = i8.n, Vec("i32", i8.n // 4), Vec("i16", i8.n // 2)

    def product(t, totals, first, second, x, stride):
        p, q = load_splat(i32, x + t * stride), load_splat(i32, x + t * stride + 4)
        return dot2(tuple_get(totals, t), first + bitcast(i16, p), second + bitcast(i16, q))

    def sums_dot(tokens: int, n: int) -> Any:
        every = unroll_map(tokens, product)

        def step(i, totals, w, x, stride):
            at = w + 2 * width * i
            return _in_order(every(totals, load(i16, at), load(i16, at + width), x + 8 * i, stride))

        steps = unroll_fold(n, step)
        return jitable(lambda totals, w, x, stride: steps(totals, w, hide(x), hide(stride)))

    return sums_dot


def _signs_dot(i8: Vec) -> Any:
    i32 = Vec("i32", i8.n // 4)

    def signs_dot(tokens: int, n: int, weight: Any) -> Any:
        made = jitable(weight)

        def product(t, sums, w, x, stride):
            at = x + t * stride
            changed = w ^ load_splat4(i8, at + 4 * n)
            return tuple_get(sums, t) + widen_pairs(maddubs(load_splat4(i8, at), changed))

        every = unroll_map(tokens, product)

        def step(j, sums, weights, x, stride):
            return _in_order(every(sums, made(j, weights), x + 4 * j, stride))

        steps = unroll_fold(n, step)
        starts = unroll_map(tokens, lambda t, at, stride: load_splat(i32, at + t * stride))
        return jitable(lambda start, weights, x, stride: steps(starts(start, stride), weights, x, stride))

    return signs_dot
