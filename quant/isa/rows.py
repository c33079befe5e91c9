"""How a single row's products get their scales, for both widths of the vectors that it streams through.

The scales of eight groups come as one float32x8 (two where the halves of a group differ), multiplied at once. Vectors
of 32 weights read theirs back from memory, where a broadcast costs nothing; vectors of 64 take them by one permutation.
"""

from __future__ import annotations

from typing import Any

import llvmlite.ir as ir

from ..simd.load_store import forget_memory, load_splat, load_two_splats, store
from ..simd.part import jitable
from ..simd.vector import Vec, f32x8, intrinsic, returns, shuffle_value


@jitable
def keep_narrow(scaled, scratch):
    """Write the scales where `narrow_scale_of` reads them."""
    for j in range(len(scaled)):
        store(scratch + 32 * j, scaled[j])
    forget_memory()


def narrow_scale(scales: int) -> Any:
    """`(scaled, scratch, n)` -> float32x8: the scales of group n."""
    if scales == 2:
        return jitable(lambda scaled, scratch, n: load_two_splats(f32x8, scratch + 4 * n, scratch + 4 * n + 32))
    return jitable(lambda scaled, scratch, n: load_splat(f32x8, scratch + 4 * n))


@jitable
def keep_wide(scaled, scratch):
    """Wide vectors take the scales from registers."""


def shuffled_scale(kind: Vec, lanes: list[list[int]]) -> Any:
    """The part of `scales` that makes `(scaled, scratch, n)` -> lanes[n] of the two float32x8, or of the one twice.

    Once all is inline `n` is a constant, and one shuffle is left.
    """

    @intrinsic(returns(kind))
    def pick(b: Any, t: Any, low: Any, high: Any, n: Any) -> Any:
        value = shuffle_value(b, low, high, lanes[0])
        for i, some in enumerate(lanes[1:], 1):
            value = b.select(b.icmp_signed("==", n, ir.Constant(n.type, i)), shuffle_value(b, low, high, some), value)
        return value

    def row_scale(scales: int) -> Any:
        last = scales - 1
        return jitable(lambda scaled, scratch, n: pick(scaled[0], scaled[last], n))

    return row_scale


def wide_lanes(n: int) -> list[int]:
    """The lanes of the scales of groups 2 n and 2 n + 1, for 64 weights."""
    return [2 * n + half + 8 * part for half in (0, 1) for part in (0, 1) for _ in range(4)]


wide_scale = shuffled_scale(Vec("f32", 16), [wide_lanes(n) for n in range(4)])
