"""What AVX-VNNI and AVX-512 VNNI share: `vpdpbusd` adds four products uint8 * int8 to an int32, unsaturated."""

from __future__ import annotations

from typing import Any

from ..simd.load_store import load_splat4
from ..simd.part import jitable
from ..simd.unroll import tuple_get, unroll_fold, unroll_map
from ..simd.vector import Vec, call, intrinsic, joined, pieces, same_as_first


@intrinsic(same_as_first)
def dot4(b: Any, t: Any, acc: Any, w: Any, x: Any) -> Any:
    """acc (int32) + sums of 4 products of bytes: `w` 0..255, `x` -128..127."""
    registers = max(1, t[1].n // 64)
    name = f"llvm.x86.avx512.vpdpbusd.{8 * t[1].n // registers}"
    parts = zip(*(pieces(b, vector, registers) for vector in (acc, w, x)), strict=True)
    return joined(b, [call(b, name, part[0].type, *part) for part in parts])


def tokens_dot_for(i8: Vec) -> Any:
    """`tokens_dot`; signed weights arrive with 128 added.

    Token by token would be a chain of n dependent instructions; this order keeps all tokens' chains in flight.
    """

    @jitable
    def one(t, j, sums, w, x, stride):
        return dot4(tuple_get(sums, t), tuple_get(w, j), load_splat4(i8, x + t * stride + 4 * j))

    def tokens_dot(tokens: int, n: int, bits: int, signed: bool) -> Any:
        every = unroll_map(tokens, one)
        return unroll_fold(n, lambda j, sums, w, x, stride: every(j, sums, w, x, stride))

    return tokens_dot
