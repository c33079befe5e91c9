"""Tiles of formats that have no `unpack`: each row's bytes are made as for a single token, then they change places."""

from __future__ import annotations

from typing import Any

from ..blocks.parts import FIELDS, IntegerParts, Part, prepared, signed_row
from ..simd.instruction_set import InstructionSet


def unpack_by_rows(v: InstructionSet, parts: IntegerParts) -> Any:
    """`(p, stride, tile, spare)`: a block of 256 of LANES rows as `IntegerParts.unpack` does it; `spare` is room.

    The bytes of 32 weights are written row by row to the place of their vectors, read as columns and written again.
    """
    lanes, size, scales, group = v.LANES, parts.tile_bytes(v.LANES), parts.scales, 32 * v.LANES
    block_of, row, columns = prepared(v, parts), signed_row(v, parts), v.jitable(parts.columns)
    flip, vector = 0x80 if parts.signed and v.FLIP_SIGNED else 0, 4 * v.LANES
    keep = v.unroll_map(scales, lambda j, at, found: v.store(at + 32 * j, v.tuple_get(found, j)))

    @v.jitable
    def columns_of(at, stride, out, step):
        quads = v.load_rows(v.i32, at, stride)
        for j in range(4):
            v.store(out + step * j, quads[j])

    @v.jitable
    def both(tile):
        low, high = v.load_rows(v.i32, tile, 32), v.load_rows(v.i32, tile + 16, 32)
        for j in range(4):
            v.store(tile + vector * j, low[j])
            v.store(tile + vector * (4 + j), high[j])

    def run(p, stride, tile, spare):
        for r in range(lanes):
            block = block_of(p + stride * r, spare)
            for g in range(8):
                v.store(tile + size * g + 32 * r, row(block, g) ^ flip)
            keep(spare + FIELDS + 32 * scales * r, columns(p + stride * r))
        for g in range(8):
            both(tile + size * g)
        for j in range(scales):
            for half in range(2):
                at, out = spare + FIELDS + 32 * j + 16 * half, tile + 4 * size * half + group + vector * j
                columns_of(at, 32 * scales, out, size)

    return v.jitable(run)


def without_spare(v: InstructionSet, unpack: Part) -> Any:
    """`(p, stride, tile, spare)`: a format's own `unpack`, which needs no room."""
    inner = v.jitable(unpack)

    @v.jitable
    def run(p, stride, tile, spare):
        inner(p, stride, tile)

    return run
