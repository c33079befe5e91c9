"""How a single row's products get their scales, for both widths of the vectors that it streams through.

The scales of eight groups come as one float32x8 (two where the halves of a group differ), multiplied at once. Vectors
of 32 weights read theirs back from memory, where a broadcast costs nothing; vectors of 64 take them by one permutation.
"""

from __future__ import annotations

from typing import Any

import llvmlite.ir as ir
from numba.core import types

from ..memory import load_splat, load_two_splats, store
from ..vector import Vec, always, f32x8, jitable, shuffle_value, word


@word(always(types.void))
def forget_memory(b: Any, t: Any) -> Any:
    """Nothing, but LLVM must not assume what memory holds: else it turns reading back into shuffles."""
    b.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], True)


@jitable
def keep_narrow(scaled, scratch):  # type: ignore[no-untyped-def]
    """Write the scales where `narrow_scale_of` reads them."""
    for j in range(len(scaled)):
        store(scratch + 32 * j, scaled[j])
    forget_memory()


def narrow_scale_of(n: int, scales: int) -> Any:
    """`(scaled, scratch)` -> float32x8: the scales of group n."""
    if scales == 2:
        return jitable(lambda scaled, scratch: load_two_splats(f32x8, scratch + 4 * n, scratch + 4 * n + 32))
    return jitable(lambda scaled, scratch: load_splat(f32x8, scratch + 4 * n))


@jitable
def keep_wide(scaled, scratch):  # type: ignore[no-untyped-def]
    """Wide vectors take the scales from registers."""


def wide_scale_of(n: int, scales: int) -> Any:
    """`(scaled, scratch)` -> float32x16: the scales of groups 2 n and 2 n + 1."""
    f32x16 = Vec("f32", 16)

    @word(always(f32x16))
    def pick(b: Any, t: Any, low: Any, high: Any) -> Any:
        lanes = [2 * n + half + 8 * part for half in (0, 1) for part in (0, 1) for _ in range(4)]
        return shuffle_value(b, low, high, lanes)

    if scales == 2:
        return jitable(lambda scaled, scratch: pick(scaled[0], scaled[1]))
    return jitable(lambda scaled, scratch: pick(scaled[0], scaled[0]))
