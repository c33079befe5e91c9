"""Products of byte weights and Q8 activations: a row by a token, and a tile of rows by many tokens. Knows no format."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from .activations import BLOCK, HALVES, LINE, SCALE, SCALED, SCALED_HALVES, SUM, SUM_SHIFT
from .format import Format
from .parts import IntegerParts

DEPTH = 1024  # weights of a row that are unpacked at once


def row_dot(v: ModuleType, fmt: type[Format], parts: IntegerParts) -> Any:
    """`(weights, x, k, scratch)` -> float32: a row of blocks times a Q8 record, 256 weights at once, then the rest."""
    nbytes, per_stretch, row_f32 = fmt.nbytes, 256 // fmt.block, v.row_f32
    stretch, group = _stretch(v, fmt, parts), _single_group(v, fmt, parts)
    offset = float(1 << _shift(v, parts)) if _shift(v, parts) >= 0 else 0.0

    def dot_row(weights, x, k, scratch):  # type: ignore[no-untyped-def]
        wide, zero = v.zero(row_f32), v.zero(v.f32x8)
        sums, column, plain = (wide, wide, zero, zero), x + 2 * k, x + k * 19 // 8
        for _ in range(k // 256):
            v.prefetch(weights + 2048)
            v.prefetch(weights + 2112)
            sums = stretch(sums, weights, plain, column, k // 8, scratch)
            weights += nbytes * per_stretch
            x += LINE * 8
            column += 32
            plain += 256
        rest = v.float32(0)
        for _ in range(k // BLOCK % 8):  # only formats with blocks of 32 leave a rest
            rest += group(weights, x)
            weights += nbytes
            x += LINE
        return v.total(sums[0] + sums[1]) + v.total(v.fma(sums[2], v.splat(v.f32x8, offset), zero - sums[3])) + rest

    return v.jitable(dot_row)


def _shift(v: ModuleType, parts: IntegerParts) -> int:
    """Log of the offset under which weights are multiplied: their own, or 128 where signed bytes are made unsigned."""
    return 7 if parts.signed and v.FLIP_SIGNED else parts.shift


def _stretch(v: ModuleType, fmt: type[Format], parts: IntegerParts) -> Any:
    """256 weights by a record's bytes `plain` and columns. Sums: two chains of products, then offsets, then minima."""
    f32x8, row_f32, row_i32, row_i8, nbytes = v.f32x8, v.row_f32, v.row_i32, v.row_i8, fmt.nbytes
    per_block, groups = fmt.block // BLOCK, row_i8.n // 32
    flip = 0x80 if parts.signed and v.FLIP_SIGNED else 0
    dot, row, columns = v.dot4_signed if parts.signed else v.dot4, v.jitable(parts.row), v.jitable(parts.columns)
    offsets, minima = _offsets(v, parts), _minima(v, parts)

    def weights(n: int) -> Any:
        """The bytes of the n-th vector: one group of 32, or two."""

        def group(g: int) -> Any:
            return v.jitable(lambda p: row(p + nbytes * (g // per_block), g % per_block) ^ flip)

        low = group(groups * n)
        if groups == 1:
            return low
        high = group(groups * n + 1)
        return v.jitable(lambda p: v.join(low(p), high(p)))

    def vector(n: int) -> Any:
        bytes_of, spread = weights(n), v.row_scale_of(n, parts.scales)

        def step(sums, p, plain, scaled, scratch):  # type: ignore[no-untyped-def]
            products = dot(v.zero(row_i32), bytes_of(p), v.load(row_i8, plain + 32 * groups * n))
            return sums[1], v.fma(spread(scaled, scratch), v.to_f32(row_f32, products), sums[0])

        return v.jitable(step)

    vectors = v.chain([vector(n) for n in range(8 // groups)])
    times = v.unroll(parts.scales, lambda j: lambda found, x: found[j] * x)

    def run(sums, p, plain, column, column_bytes, scratch):  # type: ignore[no-untyped-def]
        scaled = times(columns(p), v.load(f32x8, column))
        v.keep_row_scales(scaled, scratch)
        pair = vectors((sums[0], sums[1]), p, plain, scaled, scratch)
        return (*pair, offsets(sums[2], scaled, column, column_bytes), minima(sums[3], p, column, column_bytes))

    return v.jitable(run)


def _offsets(v: ModuleType, parts: IntegerParts) -> Any:
    """total + scales times minus the sums of the activations: what the offset, a factor of all, is owed."""
    f32x8 = v.f32x8
    if _shift(v, parts) < 0:
        return v.jitable(lambda total, scaled, column, column_bytes: total)

    def both(total, scaled, column, column_bytes):  # type: ignore[no-untyped-def]
        low, high = v.load(f32x8, column + column_bytes), v.load(f32x8, column + 2 * column_bytes)
        return v.fma(scaled[1], high, v.fma(scaled[0], low, total))

    def one(total, scaled, column, column_bytes):  # type: ignore[no-untyped-def]
        sums = v.load(f32x8, column + column_bytes) + v.load(f32x8, column + 2 * column_bytes)
        return v.fma(scaled[0], sums, total)

    return v.jitable(both if parts.scales == 2 else one)


def _minima(v: ModuleType, parts: IntegerParts) -> Any:
    """total + minima times minus the scaled sums of the activations."""
    f32x8 = v.f32x8
    if parts.column_min is None:
        return v.jitable(lambda total, p, column, column_bytes: total)
    column_min = v.jitable(parts.column_min)

    def both(total, p, column, column_bytes):  # type: ignore[no-untyped-def]
        low, high = v.load(f32x8, column + column_bytes), v.load(f32x8, column + 2 * column_bytes)
        minima = column_min(p)
        return v.fma(v.fma(minima[0], low, minima[1] * high), v.load(f32x8, column), total)

    def one(total, p, column, column_bytes):  # type: ignore[no-untyped-def]
        sums = v.load(f32x8, column + column_bytes) + v.load(f32x8, column + 2 * column_bytes)
        return v.fma(column_min(p)[0] * v.load(f32x8, column), sums, total)

    return v.jitable(both if parts.minima == 2 else one)


def _single_group(v: ModuleType, fmt: type[Format], parts: IntegerParts) -> Any:
    """`(p, line)` -> float32: 32 weights times a line; nothing where blocks are longer."""
    f32x8 = v.f32x8
    if fmt.block > BLOCK:
        return v.jitable(lambda p, line: v.float32(0))
    dot = v.dot4_signed if parts.signed else v.dot4
    flip = 0x80 if parts.signed and v.FLIP_SIGNED else 0
    row, row_scale = v.jitable(parts.row), v.jitable(parts.row_scale)
    start, minimum = _row_start(v, parts), _row_minimum(v, parts)

    def run(p, line):  # type: ignore[no-untyped-def]
        products = v.to_f32(f32x8, dot(start(line), row(p, 0) ^ flip, v.load(v.i8x32, line)))
        return v.total(row_scale(p, 0) * products) * v.load_f32(line + SCALE) + minimum(p, line)

    return v.jitable(run)


def _offset_times(v: ModuleType, parts: IntegerParts) -> Any:
    """Minus eight times sums of activations -> minus the offset times them."""
    more = _shift(v, parts) - SUM_SHIFT
    if more < 0:
        return v.jitable(lambda sums: v.shift_signed(sums, -more))
    return v.jitable((lambda sums: sums << more) if more else (lambda sums: sums))


def _row_start(v: ModuleType, parts: IntegerParts) -> Any:
    """What a group's product starts from: minus offset times the sum of the activations, under their scales."""
    i32x8 = v.i32x8
    if _shift(v, parts) < 0:
        return v.jitable(lambda line: v.zero(i32x8))
    times = _offset_times(v, parts)
    if parts.scales == 1:
        return v.jitable(lambda line: times(v.load_lane(i32x8, line + SUM)))
    return v.jitable(lambda line: times(v.load_two_lanes(i32x8, line + HALVES)))


def _row_minimum(v: ModuleType, parts: IntegerParts) -> Any:
    if parts.row_min is None:
        return v.jitable(lambda p, line: v.float32(0))
    row_min = v.jitable(parts.row_min)
    return v.jitable(lambda p, line: v.total(row_min(p, 0) * v.load_lane(v.f32x8, line + SCALED)))


def tiles_dot(v: ModuleType, fmt: type[Format], parts: IntegerParts) -> Any:
    """`(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch)`: tiles of LANES rows by all tokens.

    A stretch of the rows is unpacked once; then a few tokens at a time, which stay in the L1 cache, run over all tiles,
    which stay in the L2 cache. Strides are in bytes.
    """
    block, nbytes, size = fmt.block, fmt.nbytes, parts.tile_bytes(v.LANES)
    unpack, lanes, many = v.jitable(parts.unpack), v.LANES, v.TOKENS
    panel_many, panel_one = _panel(v, parts, many), _panel(v, parts, 1)

    def dot_tiles(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tiles, scratch):  # type: ignore[no-untyped-def]
        for at in range(0, k, DEPTH):
            depth = min(DEPTH, k - at)
            tile_bytes = depth // BLOCK * size
            for n in range(tiles):
                rows, tile = weights + lanes * row_bytes * n + at // block * nbytes, scratch + tile_bytes * n
                for b in range(depth // block):
                    unpack(rows + b * nbytes, row_bytes, tile + b * (block // BLOCK) * size)
            t, line = 0, x + at // BLOCK * LINE
            while t + many <= tokens:
                for n in range(tiles):
                    out = y + t * y_stride + 4 * lanes * n
                    panel_many(scratch + tile_bytes * n, depth, line + t * x_stride, x_stride, out, y_stride, at)
                t += many
            while t < tokens:
                for n in range(tiles):
                    out = y + t * y_stride + 4 * lanes * n
                    panel_one(scratch + tile_bytes * n, depth, line + t * x_stride, x_stride, out, y_stride, at)
                t += 1

    return v.jitable(dot_tiles)


def _panel(v: ModuleType, parts: IntegerParts, tokens: int) -> Any:
    """The tile by a few tokens whose sums stay in registers: y (tokens, LANES) = or += tile @ x."""
    f32, size = v.f32, parts.tile_bytes(v.LANES)
    weights = v.unroll(8, lambda j: lambda p: v.load(v.i8, p + 4 * v.LANES * j))
    scales = v.unroll(parts.scales, lambda j: lambda p: v.load(f32, p + 4 * v.LANES * (8 + j)))
    group = (_group_of_two if parts.scales == 2 else _group)(v, parts, tokens)
    minima = _panel_minima(v, parts, tokens)
    zeros = v.unroll(tokens, lambda t: lambda y, stride: v.zero(f32))
    loads = v.unroll(tokens, lambda t: lambda y, stride: v.load(f32, y + t * stride))
    stores = v.unroll(tokens, lambda t: lambda sums, y, stride: v.store(y + t * stride, sums[t]))

    def run(tile, depth, x, x_stride, y, y_stride, at):  # type: ignore[no-untyped-def]
        sums = loads(y, y_stride) if at > 0 else zeros(y, y_stride)
        for _ in range(depth // BLOCK):
            sums = minima(group(sums, weights(tile), scales(tile), x, x_stride), tile, x, x_stride)
            tile += size
            x += LINE
        stores(sums, y, y_stride)

    return v.jitable(run)


def _starts(v: ModuleType, parts: IntegerParts, tokens: int) -> Any:
    """`(sums of activations at, stride)` -> what each token's product starts from: minus offset times sum."""
    i32 = v.i32
    if _shift(v, parts) < 0:
        return v.unroll(tokens, lambda t: lambda at, stride: v.zero(i32))
    times = _offset_times(v, parts)
    return v.unroll(tokens, lambda t: lambda at, stride: times(v.load_splat(i32, at + t * stride)))


def _group(v: ModuleType, parts: IntegerParts, tokens: int) -> Any:
    """`(sums, weights, scales, x, stride)` -> sums + 32 weights of every row times the tokens' lines."""
    f32 = v.f32
    starts, dot = _starts(v, parts, tokens), v.tokens_dot(tokens, 8, parts.bits, parts.signed)

    def scaled(t: int) -> Any:
        def one(sums, products, d, x, stride):  # type: ignore[no-untyped-def]
            return v.fma(d[0] * v.load_splat(f32, x + t * stride + SCALE), v.to_f32(f32, products[t]), sums[t])

        return one

    every = v.unroll(tokens, scaled)

    def run(sums, w, d, x, stride):  # type: ignore[no-untyped-def]
        return every(sums, dot(starts(x + SUM, stride), w, x, stride), d, x, stride)

    return v.jitable(run)


def _group_of_two(v: ModuleType, parts: IntegerParts, tokens: int) -> Any:
    """As `_group`, where the halves of 32 weights have scales of their own."""
    f32 = v.f32
    starts, dot = _starts(v, parts, tokens), v.tokens_dot(tokens, 4, parts.bits, parts.signed)

    def scaled(t: int) -> Any:
        def one(sums, low, high, d, x, stride):  # type: ignore[no-untyped-def]
            both = v.fma(d[1], v.to_f32(f32, high[t]), d[0] * v.to_f32(f32, low[t]))
            return v.fma(both, v.load_splat(f32, x + t * stride + SCALE), sums[t])

        return one

    every = v.unroll(tokens, scaled)

    def run(sums, w, d, x, stride):  # type: ignore[no-untyped-def]
        low = dot(starts(x + HALVES, stride), w[:4], x, stride)
        high = dot(starts(x + HALVES + 4, stride), w[4:], x + 16, stride)
        return every(sums, low, high, d, x, stride)

    return v.jitable(run)


def _panel_minima(v: ModuleType, parts: IntegerParts, tokens: int) -> Any:
    """`(sums, tile, x, stride)` -> sums + minima of the rows times the scaled sums of the activations."""
    f32, at = v.f32, 4 * v.LANES * (8 + parts.scales)
    if parts.row_min is None:
        return v.jitable(lambda sums, tile, x, stride: sums)

    def times(place: int) -> Any:
        """`(sums, minima, x, stride)` -> sums + minima times the activations' sums at `place` of their lines."""

        def one(t: int) -> Any:
            return lambda sums, low, x, stride: v.fma(low, v.load_splat(f32, x + t * stride + place), sums[t])

        return v.unroll(tokens, one)

    if parts.minima == 1:
        every = times(SCALED)
        return v.jitable(lambda sums, tile, x, stride: every(sums, v.load(f32, tile + at), x, stride))
    low, high = times(SCALED_HALVES), times(SCALED_HALVES + 4)

    def run(sums, tile, x, stride):  # type: ignore[no-untyped-def]
        sums = low(sums, v.load(f32, tile + at), x, stride)
        return high(sums, v.load(f32, tile + at + 4 * v.LANES), x, stride)

    return v.jitable(run)
