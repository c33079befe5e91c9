"""What AVX-VNNI and AVX-512 VNNI share: `vpdpbusd` adds four products uint8 * int8 to an int32, unsaturated."""

from __future__ import annotations

from typing import Any

from ..memory import load_splat4
from ..vector import Vec, call, each, first, in_turn, item, jitable, shuffle_value, word


@word(first)
def vnni_dot4(b: Any, t: Any, acc: Any, w: Any, x: Any) -> Any:
    """acc (int32) + sums of 4 products of bytes: `w` 0..255, `x` -128..127."""
    if t[1].n == 128:  # two registers
        halves = [shuffle_value(b, v, v, list(range(i, i + v.type.count // 2))) for v in (acc, w, x) for i in (0, v.type.count // 2)]
        low, high = (call(b, "llvm.x86.avx512.vpdpbusd.512", halves[i].type, *halves[i::2]) for i in (0, 1))
        return shuffle_value(b, low, high, list(range(acc.type.count)))
    return call(b, f"llvm.x86.avx512.vpdpbusd.{8 * t[1].n}", acc.type, acc, w, x)


def vnni_tokens_dot(i8: Vec) -> Any:
    """See `generic.tokens_dot`; signed weights arrive with 128 added.

    Token by token would be a chain of n dependent instructions; this order keeps all tokens' chains in flight.
    """

    @jitable
    def one(t, j, sums, w, x, stride):  # type: ignore[no-untyped-def]
        return vnni_dot4(item(sums, t), item(w, j), load_splat4(i8, x + t * stride + 4 * j))

    def tokens_dot(tokens: int, n: int, bits: int, signed: bool) -> Any:
        every = each(tokens, one)
        return in_turn(n, lambda j, sums, w, x, stride: every(j, sums, w, x, stride))

    return tokens_dot
