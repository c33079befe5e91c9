"""Products in registers of tiles of 16-bit integers and of N16 records, blocks of which have scales of their own."""

from __future__ import annotations

from typing import Any

from ...simd.instruction_set import InstructionSet
from ..matmul_int16 import int16_dot, int16_scaled, int16_sums
from ..panels import in_panels
from .n16_activations import BLOCK, LINE, SCALE


def block_bytes(v: InstructionSet) -> int:
    """Bytes of a tile for a block of each row: 32 vectors of pairs of int16 (lane = row), then a vector of scales."""
    return (2 * BLOCK + 4) * v.LANES


def panels_of_tiles(v: InstructionSet) -> Any:
    """`(tokens, x, x_stride, blocks, at, y, y_stride, next_y, tiles, scratch)`: tiles at `scratch` by some tokens.

    `next_y` is y_stride where the sums of the tokens behind a panel's are to be asked for, else 0.
    """
    lanes, most, size = v.LANES, v.FLOAT_TILES, block_bytes(v)

    def panel_of(count: int) -> Any:
        several, fetch_next = (
            _panel(v, count, most),
            v.unroll_map(count, lambda t, y, stride: v.prefetch(y + t * stride)),
        )

        def over_tiles(t, x, x_stride, blocks, at, y, y_stride, next_y, tiles, scratch):
            x, y = x + t * x_stride, y + t * y_stride
            if next_y > 0:
                for line in range(0, 4 * lanes * tiles, 64):
                    fetch_next(y + count * next_y + line, y_stride)
            for n in range(0, tiles, most):
                several(scratch + size * blocks * n, blocks, x, x_stride, at, y + 4 * lanes * n, y_stride)

        return over_tiles

    return in_panels(v, v.FLOAT_TOKENS, panel_of)


def _panel(v: InstructionSet, tokens: int, tiles: int) -> Any:
    """Some tiles by a few tokens: y (tokens, tiles * LANES) = tiles @ x, or, where `at` is not 0, += that.

    A pair of activations that is loaded is used for all tiles.
    """
    zeros, nothing, loads, stores = int16_sums(v, tokens, tiles)
    dot, scaled = int16_dot(v, tokens, tiles), int16_scaled(v, tokens, tiles)
    size, scales = block_bytes(v), 2 * BLOCK * v.LANES

    def run(tile, blocks, x, x_stride, at, y, y_stride):
        sums, stride = loads(y, y_stride) if at > 0 else nothing(), size * blocks
        for _ in range(blocks):
            totals = dot(zeros(), BLOCK // 2, tile, stride, x, x_stride)
            sums = scaled(sums, totals, x + SCALE, x_stride, tile + scales, stride)
            tile += size
            x += LINE
        stores(y, sums, y_stride)

    return v.jitable(run)
