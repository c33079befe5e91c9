"""Products of byte weights and Q8 activations: a row by a token, and a tile of rows by many tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..blocks.parts import IntegerParts, prepared
from ..format import Format
from ..simd.instruction_set import InstructionSet
from .pair_rows import pair_rows
from .panel_products import offset_shift, offset_times, panel_group, panel_minima
from .panels import BAND, PASS_TOKENS, fetch_rows, in_panels, panel_sums
from .q8_activations import BLOCK, HALVES, LINE, SCALE, SCALED, SUM
from .unpack_by_rows import unpack_by_rows, without_spare

DEPTH = 512  # weights of a row that are unpacked at once
PREPARED = 512  # where in its scratch memory a row finds what is prepared of a block, behind the scales of its tokens


def row_dots(v: InstructionSet, fmt: type[Format], parts: IntegerParts) -> Callable[[int], Any]:
    """For a number of tokens, `(weights, x, x_stride, k, y, y_stride, scratch)`: a row of blocks times Q8 records.

    256 weights at once, then the rest. A token's product does not depend on how many there are. Strides are in bytes.
    """
    nbytes, per_stretch, per_block, row_f32 = fmt.nbytes, 256 // fmt.block, fmt.block // BLOCK, v.row_f32
    stretches, group = _stretches(v, fmt, parts), _single_group(v, fmt, parts)
    offset = float(1 << _row_shift(v, parts)) if _row_shift(v, parts) >= 0 else 0.0

    @v.jitable
    def finish(t, sums, rest, y, stride):
        first, second, correction, minimum = v.tuple_get(sums, t)
        taken = v.reduce_add(v.fma(correction, v.splat(v.f32x8, offset), v.zero(v.f32x8) - minimum))
        v.store(y + t * stride, v.reduce_add(first + second) + taken + v.tuple_get(rest, t))

    def of(tokens: int) -> Any:
        start = v.unroll_map(tokens, lambda t, wide, zero: (wide, wide, zero, zero))
        nothing = v.unroll_map(tokens, lambda t: v.float32(0))
        more = v.unroll_map(
            tokens, lambda t, rest, p, g, line, stride: v.tuple_get(rest, t) + group(p, g, line + t * stride)
        )
        stretch, finishes = stretches(tokens), v.unroll_map(tokens, finish)

        def dot_row(weights, x, x_stride, k, y, y_stride, scratch):
            sums, rest = start(v.zero(row_f32), v.zero(v.f32x8)), nothing()
            column, plain = x + 2 * k, x + k * 19 // 8
            for _ in range(k // 256):
                v.prefetch(weights + 2048)
                v.prefetch(weights + 2112)
                sums = stretch(sums, weights, plain, x_stride, column, k // 8, scratch)
                weights += nbytes * per_stretch
                x += LINE * 8
                column += 32
                plain += 256
            for g in range(k // BLOCK % 8):  # only formats with blocks below 256 leave a rest
                rest = more(rest, weights + nbytes * (g // per_block), g % per_block, x, x_stride)
                x += LINE
            finishes(sums, rest, y, y_stride)

        return v.jitable(dot_row)

    return of


def _row_shift(v: InstructionSet, parts: IntegerParts) -> int:
    """As `offset_shift`, of a single row: magnitudes have no offset."""
    return -1 if parts.minus else offset_shift(v, parts)


def _stretches(v: InstructionSet, fmt: type[Format], parts: IntegerParts) -> Callable[[int], Any]:
    """For a number of tokens: 256 weights by the records' bytes `plain` and columns.

    The sums of each token: two chains of products, then offsets, then minima.
    """
    f32x8, groups = v.f32x8, v.row_i8.n // 32
    columns, offsets, minima = v.jitable(parts.columns), _offsets(v, parts), _minima(v, parts)
    block_of = prepared(v, parts)
    found_minima = v.jitable(parts.column_min or (lambda p: ()))
    bytes_of, product = _vector_bytes(v, fmt, parts), _vector_product(v, parts)
    times = v.unroll_map(parts.scales, lambda j, found, x: v.tuple_get(found, j) * x)

    @v.jitable
    def rest(t, sums, scaled, low, column, stride, column_bytes):
        first, second, correction, minimum = v.tuple_get(sums, t)
        at = column + t * stride
        return (
            first,
            second,
            offsets(correction, v.tuple_get(scaled, t), at, column_bytes),
            minima(minimum, low, at, column_bytes),
        )

    def of(tokens: int) -> Any:
        products, rests = v.unroll_map(tokens, product), v.unroll_map(tokens, rest)
        vectors = v.unroll_fold(8 // groups, lambda n, sums, p, *more: products(n, sums, bytes_of(p, n), *more))
        scales = v.unroll_map(tokens, lambda t, found, column, stride: times(found, v.load(f32x8, column + t * stride)))
        keep = v.unroll_map(
            tokens, lambda t, scaled, scratch: v.keep_row_scales(v.tuple_get(scaled, t), scratch + 64 * t)
        )

        def run(sums, p, plain, stride, column, column_bytes, scratch):
            scaled, low = scales(columns(p), column, stride), found_minima(p)
            keep(scaled, scratch)
            sums = vectors(sums, block_of(p, scratch + PREPARED), plain, stride, scaled, scratch)
            return rests(sums, scaled, low, column, stride, column_bytes)

        return v.jitable(run)

    return of


def _vector_bytes(v: InstructionSet, fmt: type[Format], parts: IntegerParts) -> Any:
    """`(p, n)` -> the bytes of the n-th vector of 256 weights, one group of 32 or two; magnitudes and their signs."""
    nbytes, per_block, wide = fmt.nbytes, fmt.block // BLOCK, v.row_i8.n == 64
    flip, row = 0x80 if parts.signed and v.FLIP_SIGNED and not parts.minus else 0, v.jitable(parts.row)

    @v.jitable
    def group(p, g):
        return row(p + nbytes * (g // per_block), g % per_block) ^ flip

    def whole(group: Any) -> Any:
        return v.jitable(lambda p, n: v.join(group(p, 2 * n), group(p, 2 * n + 1)) if wide else group(p, n))

    weights = whole(group)
    if parts.minus is None:
        return weights
    signs = whole(v.jitable(parts.minus))
    return v.jitable(lambda p, n: (weights(p, n), signs(p, n)))


def _vector_product(v: InstructionSet, parts: IntegerParts) -> Any:
    """`(t, n, sums, weights, plain, stride, scaled, scratch)` -> sums of token t + the n-th vector's products."""
    spread, size, signed_dot = v.row_scale(parts.scales), v.row_i8.n, v.dot4_signed if parts.signed else v.dot4
    with_signs = v.jitable(lambda total, w, x: v.dot4(total, w[0], v.negate(x, w[1])))
    dot = signed_dot if parts.minus is None else with_signs

    def product(t, n, sums, w, plain, stride, scaled, scratch):
        first, second, correction, minimum = v.tuple_get(sums, t)
        products = dot(v.zero(v.row_i32), w, v.load(v.row_i8, plain + t * stride + size * n))
        scales = spread(v.tuple_get(scaled, t), scratch + 64 * t, n)
        return second, v.fma(scales, v.to_f32(v.row_f32, products), first), correction, minimum

    return v.jitable(product)


def _offsets(v: InstructionSet, parts: IntegerParts) -> Any:
    """total + scales times minus the sums of the activations: the zero-point correction for an offset of 1."""
    f32x8 = v.f32x8
    if _row_shift(v, parts) < 0:
        return v.jitable(lambda total, scaled, column, column_bytes: total)

    def both(total, scaled, column, column_bytes):
        low, high = v.load(f32x8, column + column_bytes), v.load(f32x8, column + 2 * column_bytes)
        return v.fma(scaled[1], high, v.fma(scaled[0], low, total))

    def one(total, scaled, column, column_bytes):
        sums = v.load(f32x8, column + column_bytes) + v.load(f32x8, column + 2 * column_bytes)
        return v.fma(scaled[0], sums, total)

    return v.jitable(both if parts.scales == 2 else one)


def _minima(v: InstructionSet, parts: IntegerParts) -> Any:
    """total + minima times minus the scaled sums of the activations."""
    f32x8 = v.f32x8
    if parts.column_min is None:
        return v.jitable(lambda total, minima, column, column_bytes: total)

    def both(total, minima, column, column_bytes):
        low, high = v.load(f32x8, column + column_bytes), v.load(f32x8, column + 2 * column_bytes)
        return v.fma(v.fma(minima[0], low, minima[1] * high), v.load(f32x8, column), total)

    def one(total, minima, column, column_bytes):
        sums = v.load(f32x8, column + column_bytes) + v.load(f32x8, column + 2 * column_bytes)
        return v.fma(minima[0] * v.load(f32x8, column), sums, total)

    return v.jitable(both if parts.minima == 2 else one)


def _single_group(v: InstructionSet, fmt: type[Format], parts: IntegerParts) -> Any:
    """`(p, g, line)` -> float32: group g of 32 weights of a block times a line; nothing where blocks are of 256."""
    f32x8 = v.f32x8
    if fmt.block == 256:
        return v.jitable(lambda p, g, line: v.float32(0))
    dot = v.dot4_signed if parts.signed else v.dot4
    flip = 0x80 if parts.signed and v.FLIP_SIGNED else 0
    row, row_scale = v.jitable(parts.row), v.jitable(parts.row_scale)
    start, minimum = _row_start(v, parts), _row_minimum(v, parts)

    def run(p, g, line):
        products = v.to_f32(f32x8, dot(start(line), row(p, g) ^ flip, v.load(v.i8x32, line)))
        return v.reduce_add(row_scale(p, g) * products) * v.load_f32(line + SCALE) + minimum(p, g, line)

    return v.jitable(run)


def _row_start(v: InstructionSet, parts: IntegerParts) -> Any:
    """What a group's product starts from: minus offset times the sum of the activations, under their scales."""
    i32x8 = v.i32x8
    if offset_shift(v, parts) < 0:
        return v.jitable(lambda line: v.zero(i32x8))
    times = offset_times(v, parts)
    if parts.scales == 1:
        return v.jitable(lambda line: times(v.load_lane(i32x8, line + SUM)))
    return v.jitable(lambda line: times(v.load_two_lanes(i32x8, line + HALVES)))


def _row_minimum(v: InstructionSet, parts: IntegerParts) -> Any:
    if parts.row_min is None:
        return v.jitable(lambda p, g, line: v.float32(0))
    row_min = v.jitable(parts.row_min)
    return v.jitable(lambda p, g, line: v.reduce_add(row_min(p, g) * v.load_lane(v.f32x8, line + SCALED)))


def tiles_dot(v: InstructionSet, fmt: type[Format], parts: IntegerParts) -> Any:
    """`(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch)`: tiles of LANES rows by all tokens.

    Strides are in bytes.
    """
    return batch_dot(v, fmt, parts, row_unpack(v, fmt, parts))


def row_unpack(v: InstructionSet, fmt: type[Format], parts: IntegerParts) -> Any:
    """`(rows, row_bytes, first, blocks, target, ahead)`: blocks of LANES rows as bytes, as `batch_dot` wants."""
    nbytes, fetch = fmt.nbytes, fetch_rows(v)
    unpack = unpack_by_rows(v, parts) if parts.unpack is None else without_spare(v, parts.unpack)
    size = fmt.block // BLOCK * parts.tile_bytes(v.LANES)

    def unpack_rows(rows, row_bytes, first, blocks, target, ahead):
        for b in range(blocks):
            fetch(ahead, row_bytes, b * nbytes, (b + 1) * nbytes)
            unpack(rows + (first + b) * nbytes, row_bytes, target + b * size, target + blocks * size)

    return unpack_rows


def batch_dot(v: InstructionSet, fmt: type[Format], parts: IntegerParts, unpack_rows: Any, least: int = 1) -> Any:
    """As `tiles_dot`, for weights that `unpack_rows(tile, row_bytes, first, blocks, target, ahead)` makes bytes of.

    It unpacks so many blocks of the LANES rows at `tile`; the rows at `ahead` are the next ones. Few tokens run over
    each band of tiles as soon as it is unpacked. Of many, PASS_TOKENS run over all tiles before the next do, so that
    activations come from the L2 cache for every band but the first. The number of tokens is a multiple of `least`, a
    power of two.
    """
    block, nbytes, size = fmt.block, fmt.nbytes, parts.tile_bytes(v.LANES)
    unpack, lanes, band = v.jitable(unpack_rows), v.LANES, BAND // v.LANES
    panels, finish = _tile_panels(v, parts, least)

    @v.jitable
    def bands(tokens, x, x_stride, depth, y, y_stride, at, tiles, scratch):
        next_y = y_stride if tokens > PASS_TOKENS else 0
        for t in range(0, tokens, PASS_TOKENS):
            for n in range(0, tiles, band):
                out, tile = y + t * y_stride + 4 * lanes * n, scratch + depth // BLOCK * size * n
                few, some, line = min(PASS_TOKENS, tokens - t), min(band, tiles - n), x + t * x_stride
                panels(tokens, few, line, x_stride, depth, out, y_stride, next_y, at, some, tile)

    def dot_tiles(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch):
        together = max(tiles, 1) if tokens > PASS_TOKENS else band  # a step of 0 would be undefined
        for at in range(0, k, DEPTH):
            depth = min(DEPTH, k - at)
            for first in range(0, tiles, together):
                last = min(tiles, first + together)
                for n in range(first, last):
                    rows, tile = weights + lanes * row_bytes * n, scratch + depth // BLOCK * size * (n - first)
                    ahead = rows + lanes * row_bytes + at // block * nbytes
                    if n + 1 == tiles:
                        ahead = weights + (at + depth) // block * nbytes
                    unpack(rows, row_bytes, at // block, depth // block, tile, ahead)
                    finish(tokens, tile, depth // BLOCK)
                line, out = x + at // BLOCK * LINE, y + 4 * lanes * first
                bands(tokens, line, x_stride, depth, out, y_stride, at, last - first, scratch)

    return v.jitable(dot_tiles)


def _tile_panels(v: InstructionSet, parts: IntegerParts, least: int) -> tuple[Any, Any]:
    """`(batch, tokens, line, x_stride, depth, y, y_stride, next_y, at, tiles, scratch)`: tiles by tokens of a batch.

    `next_y` is y_stride where the sums of the tokens behind a panel's are to be asked for, else 0. Before it comes the
    second function, `(batch, tile, groups)`, which makes a tile just unpacked what the first wants: where the batch
    has many tokens, pairs of rows.
    """
    lanes, size, enough = v.LANES, parts.tile_bytes(v.LANES), v.PAIR_TOKENS

    def panels_of(paired: bool) -> Any:
        def panel_of(count: int) -> Any:
            panel = _panel(v, parts, count, paired)

            def over_tiles(t, line, x_stride, depth, y, y_stride, next_y, at, tiles, scratch):
                for n in range(tiles):
                    tile, out = scratch + depth // BLOCK * size * n, y + t * y_stride + 4 * lanes * n
                    panel(tile, depth, line + t * x_stride, x_stride, out, y_stride, next_y, at)

            return over_tiles

        return in_panels(v, v.TOKENS, panel_of, least)

    few = panels_of(False)
    if not enough:
        return v.jitable(lambda batch, *args: few(*args)), v.jitable(lambda batch, tile, groups: None)
    many, pair = panels_of(True), pair_rows(v, parts)

    def panels(batch, *args):
        if batch < enough:
            few(*args)
        else:
            many(*args)

    def finish(batch, tile, groups):
        if batch >= enough:
            pair(tile, groups)

    return v.jitable(panels), v.jitable(finish)


def _panel(v: InstructionSet, parts: IntegerParts, tokens: int, paired: bool) -> Any:
    """The tile by a few tokens whose sums stay in registers: y (tokens, LANES) = or += tile @ x.

    The next sums are asked for.
    """
    size, scales = parts.tile_bytes(v.LANES), 32 * v.LANES
    vector = 4 * v.LANES
    products, add = panel_group(v, parts, tokens, lambda j, tile: v.load(v.i8, tile + vector * j), paired)
    minima = panel_minima(v, parts, tokens)
    zeros, loads, stores, fetch = panel_sums(v, tokens)

    def run(tile, depth, x, x_stride, y, y_stride, next_y, at):
        if next_y > 0:
            fetch(y + tokens * next_y, y_stride)
        sums = loads(y, y_stride) if at > 0 else zeros(y, y_stride)
        for _ in range(depth // BLOCK):
            found = products(tile, x, 0, x_stride)
            sums = minima(add(sums, found, tile + scales, x, 0, x_stride), tile, x, x_stride)
            tile += size
            x += LINE
        stores(sums, y, y_stride)

    return v.jitable(run)
