"""AArch64 with i8mm: `smmla` multiplies two rows of 8 bytes by two tokens' 8 bytes, twice the products of `sdot`.

Batches keep their tiles in pairs of rows for it. A single row and a single token are multiplied as without i8mm.
"""

from __future__ import annotations

from typing import Any

from ..simd.part import jitable
from ..simd.unroll import fold_parts, map_parts, tuple_get, unroll_map
from ..simd.vector import Vec, call, i8x16, i32x8, intrinsic, joined, pieces, returns, same_as_first, shuffle_value
from .neon_dot import *
from .neon_dot import I32X4, load

PAIR_TOKENS = 16  # pairing costs what products of some 13 tokens save
PROOF = "smmla"
i32x16 = Vec("i32", 16)  # sums of a pair of tokens: 2 rows of the first, the same 2 of the second, and so on


@intrinsic(returns(i32x16))
def _pair(b: Any, t: Any, first: Any, second: Any) -> Any:
    """The sums of two tokens, int32x8, in the order of `smmla`."""
    lanes = [2 * rows + i + 8 * token for rows in range(4) for token in (0, 1) for i in (0, 1)]
    return shuffle_value(b, first, second, lanes)


def _token(number: int) -> Any:
    """The intrinsic `sums of a pair of tokens -> those of one of them`, int32x8."""

    @intrinsic(returns(i32x8))
    def sums(b: Any, t: Any, pair: Any) -> Any:
        return shuffle_value(b, pair, pair, [4 * rows + 2 * number + i for rows in range(4) for i in (0, 1)])

    return sums


def _smmla_by(half: int) -> Any:
    """The intrinsic `(sums, low, high, x, y)`: sums + pairs of rows times 8 bytes of two tokens, a half of x and y."""

    @intrinsic(same_as_first)
    def step(b: Any, t: Any, sums: Any, low: Any, high: Any, x: Any, y: Any) -> Any:
        tokens = shuffle_value(b, x, y, [8 * half + i + start for start in (0, 16) for i in range(8)])
        rows = [*pieces(b, low, 2), *pieces(b, high, 2)]
        name = "llvm.aarch64.neon.smmla.v4i32.v16i8"
        return joined(b, [call(b, name, I32X4, s, tokens, r) for s, r in zip(pieces(b, sums, 4), rows, strict=True)])

    return step


def smmla_tokens(tokens: int, n: int, bits: int, signed: bool) -> Any:
    """`paired_dot` with all sums in flight. A single token is multiplied twice, which `sdot` would not do faster."""
    pairs, last, ones = (tokens + 1) // 2, tokens - 1, [_token(0), _token(1)]
    first = unroll_map(pairs, lambda p, sums: _pair(tuple_get(sums, 2 * p), tuple_get(sums, min(2 * p + 1, last))))

    def step(j: int) -> Any:
        dot, at = _smmla_by(j % 2), j // 2 * 16

        @jitable
        def pair(p, sums, w, x, stride):
            one, other = load(i8x16, x + 2 * p * stride + at), load(i8x16, x + min(2 * p + 1, last) * stride + at)
            return dot(tuple_get(sums, p), w[2 * j], w[2 * j + 1], one, other)

        return unroll_map(pairs, pair)

    products = fold_parts([step(j) for j in range(n // 2)])

    def sums_of(t: int) -> Any:
        one, p = ones[t % 2], t // 2
        return lambda sums: one(sums[p])

    every = map_parts(tokens, sums_of)
    return jitable(lambda sums, w, x, stride: every(products(first(sums), w, x, stride)))


paired_dot = of_vectors(smmla_tokens)
