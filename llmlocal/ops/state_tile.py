"""Tiles of the matrix that a recurrent layer keeps for each head: some columns, which stay in a thread's cache."""

from __future__ import annotations

from typing import Any

from ..quant.simd.instruction_set import InstructionSet

WIDEST = 32  # columns of a tile


def columns(dim: int) -> int:
    """Columns of a tile for heads of `dim`, a multiple of 8."""
    return next(n for n in (WIDEST, 16, 8) if dim % n == 0)


def tile_parts(v: InstructionSet, width: int) -> tuple[Any, Any, Any]:
    """What steps through a tile of `width` columns, a row of it as width / 8 vectors:

    `zeros()`: a row of zeros. `add(sums, x, row)`: sums + x times the row at an address.
    `write(source, target, decay, x, change)`: the row at `source`, decayed, plus x times `change`, to `target`.
    """
    f32x8, n = v.f32x8, width // 8

    def write(j, source, target, decay, x, change):
        v.store(target + 32 * j, v.fma(x, v.tuple_get(change, j), v.load(f32x8, source + 32 * j) * decay))
        return 0

    zeros = v.unroll_map(n, lambda j: v.zero(f32x8))
    add = v.unroll_map(n, lambda j, sums, x, row: v.fma(x, v.load(f32x8, row + 32 * j), v.tuple_get(sums, j)))
    return zeros, add, v.unroll_map(n, write)
