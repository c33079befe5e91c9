"""AArch64 with the dot product instructions: `sdot` multiplies 16 bytes and adds them by fours to int32."""

from __future__ import annotations

from typing import Any

from ..simd.unroll import fold_parts, tuple_get, unroll_map
from ..simd.vector import (
    call,
    i8x16,
    intrinsic,
    joined,
    pieces,
    same_as_first,
    shuffle_value,
)
from .neon import *
from .neon import I32X4, load

TOKENS = FLOAT_TOKENS = 4
PROOF = "sdot"


def _sdot(b: Any, acc: Any, w: Any, xs: list[Any]) -> Any:
    """acc + sums of 4 products, register by register of `acc` and `w`, each with its own of `xs`."""
    n = len(xs)
    parts = zip(pieces(b, acc, n), pieces(b, w, n), xs, strict=True)
    return joined(b, [call(b, "llvm.aarch64.neon.sdot.v4i32.v16i8", I32X4, *part) for part in parts])


@intrinsic(same_as_first)
def _sdot4(b: Any, t: Any, acc: Any, w: Any, x: Any) -> Any:
    """acc (int32) + sums of 4 products of bytes, whatever they are."""
    return _sdot(b, acc, w, pieces(b, x, t[2].n // 16))


dot4 = dot4_signed = _sdot4


def _sdot4_by(lane: int) -> Any:
    """The intrinsic `(acc, w, x) -> acc + sums of 4 products of w and the 4 bytes in this lane of x`, read in place."""

    @intrinsic(same_as_first)
    def step(b: Any, t: Any, acc: Any, w: Any, x: Any) -> Any:
        fours = b.bitcast(x, I32X4)
        copies = b.bitcast(shuffle_value(b, fours, fours, [lane] * 4), x.type)
        return _sdot(b, acc, w, [copies] * (t[1].n // 16))

    return step


def sdot_tokens(tokens: int, n: int, bits: int, signed: bool) -> Any:
    """`tokens_dot` with all tokens' sums in flight: one after the other they would be chains of n dependent steps."""

    def step(j: int) -> Any:
        dot, at = _sdot4_by(j % 4), j // 4 * 16
        return unroll_map(
            tokens, lambda t, sums, w, x, stride: dot(tuple_get(sums, t), w[j], load(i8x16, x + t * stride + at))
        )

    return fold_parts([step(j) for j in range(n)])


tokens_dot = paired_dot = of_vectors(sdot_tokens)
