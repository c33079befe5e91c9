"""Products of interleaved tiles of byte weights: a tile of LANES rows by a few tokens, or unpacked for a batch."""

from __future__ import annotations

from typing import Any

from ..blocks.parts import IntegerParts
from ..format import Format
from ..simd.instruction_set import InstructionSet
from .gemm_integer import batch_dot
from .groups import gemm_groups
from .groups.group_records import GROUP_TOKENS, GroupRecords
from .interleave import tile_intrinsics, unpack_of
from .panel_products import panel_group, panel_minima
from .panels import in_panels, panel_sums
from .q8_activations import BLOCK, LINE, SIGN_LINE, q8_signs

AHEAD, AHEAD_OF_ONE = 2048, 1024  # bytes from what several tokens, or one, multiply to what is asked for
WITH_TWO_MINIMA = 4  # tokens in registers at most, where each panel would write 32 scales and minima for 256 weights


def tile_dot(v: InstructionSet, fmt: type[Format], parts: IntegerParts, tokens: int) -> Any:
    """`(tile, k, x, x_stride, y, y_stride, scratch)`: y (tokens, LANES) = the tile of LANES rows by Q8 records.

    Weights stay in registers; the scales of a block go through `scratch`. Where there are too few registers for sums
    beside products (`STORED_SUMS`), sums lie behind the scales, and both are touched after the products. Strides are in
    bytes.
    """
    lanes, size, nbytes = v.LANES, parts.tile_bytes(v.LANES), fmt.nbytes * v.LANES
    own, signs_at, groups = fmt.kernels(tile_intrinsics(v)).tile, v.jitable(q8_signs), fmt.block // BLOCK
    unit, tile_scales, tile_weights = own.unit, v.jitable(own.scales), v.jitable(own.weights)

    def weight(j, w):
        p, n, i = w
        return v.tuple_get(tile_weights(p, 0, n, i), j)

    products, add = panel_group(v, parts, tokens, weight, signs=True)
    minima, (zeros, loads, stores, fetch_sums) = panel_minima(v, parts, tokens), panel_sums(v, tokens)

    lines, ahead = -(-nbytes // (64 * groups)), max(AHEAD_OF_ONE if tokens == 1 else AHEAD, nbytes)
    fetch = v.unroll_map(lines, lambda line, at: v.prefetch(at + ahead + 64 * line))
    stored = groups == 1 and 0 < v.STORED_SUMS <= tokens

    def step_of(i: int) -> Any:
        def step(sums, p, n, at, x, signs, x_stride, kept):
            fetch(p * lanes + 64 * lines * (unit * n + i))
            at, x, signs = at + size * i, x + LINE * i, signs + SIGN_LINE * i
            found = products((p, n, i), x, signs, x_stride)
            if stored:
                tile_scales(p, 0, at)
                sums = loads(kept, 4 * lanes)
            sums = minima(add(sums, found, at + 32 * lanes, x, signs, x_stride), at, x, x_stride)
            if stored:
                stores(sums, kept, 4 * lanes)
            return sums

        return v.jitable(step)

    steps = v.fold_parts([step_of(i) for i in range(unit)])

    def run(tile, k, x, x_stride, y, y_stride, scratch):
        fetch_sums(y, y_stride)
        sums, kept, signs = zeros(y, y_stride), scratch + size * groups, x + signs_at(k)
        if stored:
            stores(sums, kept, 4 * lanes)
        for _ in range(k // (BLOCK * groups)):
            p = tile // lanes
            if not stored:
                tile_scales(p, 0, scratch)
            for n in range(groups // unit):
                sums = steps(sums, p, n, scratch + size * unit * n, x, signs, x_stride, kept)
                x, signs = x + LINE * unit, signs + SIGN_LINE * unit
            tile += nbytes
        stores(sums, y, y_stride)

    return v.jitable(run)


def tiles_by_tokens(v: InstructionSet, fmt: type[Format], parts: IntegerParts, groups: GroupRecords | None) -> Any:
    """`(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch)`: as `gemm_integer.tiles_dot`.

    `groups`: from GROUP_TOKENS tokens on, all of them are multiplied by `gemm_groups`.
    """
    lanes, nbytes, unpack = v.LANES, fmt.nbytes * v.LANES, unpack_of(v, fmt)
    lines, size = nbytes // 64 + 1, fmt.block // BLOCK * parts.tile_bytes(lanes)

    def unpack_rows(tile, row_bytes, first, blocks, target, ahead):
        for b in range(blocks):
            for line in range(lines):
                v.prefetch(tile + (first + b) * nbytes + AHEAD + 64 * line)
            unpack(tile + (first + b) * nbytes, target + b * size)

    most = min(v.TOKENS, v.REGISTER_TOKENS)
    least = 1 if groups else most
    if groups:
        batch = gemm_groups.tiles_dot(v, fmt, unpack_rows, groups.products(v, parts))
    else:
        batch = batch_dot(v, fmt, parts, unpack_rows, least)

    def panel_of(count: int) -> Any:
        dot = tile_dot(v, fmt, parts, count)

        def panel(t, tile, k, x, x_stride, y, y_stride, scratch):
            dot(tile, k, x + t * x_stride, x_stride, y + t * y_stride, y_stride, scratch)

        return panel

    panels, in_registers = in_panels(v, most, panel_of), GROUP_TOKENS - 1 if groups else v.REGISTER_TOKENS
    if parts.row_min and parts.minima == 2:
        in_registers = min(in_registers, WITH_TWO_MINIMA)

    def run(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch):
        whole = tokens // least * least if tokens > in_registers else 0
        if whole > 0:
            batch(weights, row_bytes, k, x, x_stride, whole, y, y_stride, tiles, scratch)
            x, y, tokens = x + whole * x_stride, y + whole * y_stride, tokens - whole
        for n in range(tiles):
            panels(tokens, weights + lanes * row_bytes * n, k, x, x_stride, y + 4 * lanes * n, y_stride, scratch)

    return v.jitable(run)
