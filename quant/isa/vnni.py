"""What AVX-VNNI and AVX-512 VNNI share: `vpdpbusd` adds four products uint8 * int8 to an int32, unsaturated."""

from __future__ import annotations

from typing import Any

from ..memory import load_splat4
from ..vector import Vec, call, first, jitable, word


@word(first)
def vnni_dot4(b: Any, t: Any, acc: Any, w: Any, x: Any) -> Any:
    """acc (int32) + sums of 4 products of bytes: `w` 0..255, `x` -128..127."""
    return call(b, f"llvm.x86.avx512.vpdpbusd.{8 * t[1].n}", acc.type, acc, w, x)


def vnni_group_dot(i8: Vec) -> Any:
    """See `generic.group_dot`; signed weights arrive with 128 added."""

    def group_dot(n: int, bits: int, signed: bool) -> Any:
        if n == 0:
            return jitable(lambda start, weights, x: start)
        before, j = group_dot(n - 1, bits, signed), n - 1

        @jitable
        def step(start, weights, x):  # type: ignore[no-untyped-def]
            return vnni_dot4(before(start, weights, x), weights[j], load_splat4(i8, x + 4 * j))

        return step

    return group_dot
