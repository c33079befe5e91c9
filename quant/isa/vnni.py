"""What AVX-VNNI and AVX-512 VNNI share: `vpdpbusd` adds four products uint8 * int8 to an int32, unsaturated."""

from __future__ import annotations

from typing import Any

from ..memory import load_splat4
from ..vector import Vec, call, chain, first, unroll, word


@word(first)
def vnni_dot4(b: Any, t: Any, acc: Any, w: Any, x: Any) -> Any:
    """acc (int32) + sums of 4 products of bytes: `w` 0..255, `x` -128..127."""
    return call(b, f"llvm.x86.avx512.vpdpbusd.{8 * t[1].n}", acc.type, acc, w, x)


def vnni_tokens_dot(i8: Vec) -> Any:
    """See `generic.tokens_dot`; signed weights arrive with 128 added.

    Token by token would be a chain of n dependent instructions; this order keeps all tokens' chains in flight.
    """

    def tokens_dot(tokens: int, n: int, bits: int, signed: bool) -> Any:
        def step(j: int) -> Any:
            def one(t: int) -> Any:
                return lambda sums, w, x, stride: vnni_dot4(sums[t], w[j], load_splat4(i8, x + t * stride + 4 * j))

            return unroll(tokens, one)

        return chain([step(j) for j in range(n)])

    return tokens_dot
