"""Tiles of byte weights in pairs of rows, for instruction sets that multiply two rows by two tokens at once."""

from __future__ import annotations

from typing import Any

from ..blocks.parts import IntegerParts
from ..simd.instruction_set import InstructionSet


def pair_rows(v: InstructionSet, parts: IntegerParts) -> Any:
    """`(tile, groups)`: 4 consecutive weights of every row become 8 of every two, and signed: less their offset."""
    size, vector, wide = parts.tile_bytes(v.LANES), 4 * v.LANES, v.Vec("i8", 8 * v.LANES)
    offset = 1 << parts.shift if parts.shift >= 0 else 0

    @v.jitable
    def pair(i, tile):
        at = tile + 2 * vector * i
        rows = v.zip_lanes(v.load(v.i32, at), v.load(v.i32, at + vector))
        v.store(at, v.bitcast(wide, rows) - offset)

    every = v.unroll_map(4, pair)

    def run(tile, groups):
        for g in range(groups):
            every(tile + size * g)

    return v.jitable(run)
