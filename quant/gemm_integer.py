"""Products of byte weights and Q8 activations: a row by a token, and a tile of rows by many tokens. Knows no format."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from .activations import BLOCK, HALVES, LINE, SCALE, SCALED, SUM
from .format import Format
from .parts import IntegerParts

DEPTH = 2048  # weights of a row that are unpacked at once: the tile then stays in the L1 or L2 cache


def row_dot(v: ModuleType, fmt: type[Format], parts: IntegerParts) -> Any:
    """`(weights, x, k)` -> float32: a row of blocks times a Q8 record. Two chains of sums hide the FMA's latency."""
    f32x8, i32x8, block, nbytes = v.f32x8, v.i32x8, fmt.block, fmt.nbytes
    dot = v.dot4_signed if parts.signed else v.dot4
    row, row_scale = v.jitable(parts.row), v.jitable(parts.row_scale)
    start, add_minimum = _row_start(v, parts), _row_minimum(v, parts)

    def group(g: int) -> Any:
        def step(sums, p, x):  # type: ignore[no-untyped-def]
            line = x + LINE * g
            products = dot(start(line), row(p, g), v.load(v.i8x32, line))
            scale = row_scale(p, g) * v.load_splat(f32x8, line + SCALE)
            return sums[1], v.fma(scale, v.to_f32(f32x8, products), sums[0]), add_minimum(sums[2], p, g, line)

        return v.jitable(step)

    groups = v.chain([group(g) for g in range(block // BLOCK)])

    def dot_row(weights, x, k):  # type: ignore[no-untyped-def]
        sums = (v.zero(f32x8), v.zero(f32x8), v.float32(0))
        for _ in range(k // block):
            v.prefetch(weights + 1024)
            sums = groups(sums, weights, x)
            weights += nbytes
            x += LINE * (block // BLOCK)
        return v.total(sums[0] + sums[1]) + sums[2]

    return v.jitable(dot_row)


def _row_start(v: ModuleType, parts: IntegerParts) -> Any:
    """What a group's product starts from: minus offset times the sum of the activations, under their scales."""
    i32x8, shift = v.i32x8, parts.shift
    if shift < 0:
        return v.jitable(lambda line: v.zero(i32x8))
    if parts.scales == 1:
        return v.jitable(lambda line: v.load_lane(i32x8, line + SUM) << shift)
    return v.jitable(lambda line: v.load_two_lanes(i32x8, line + HALVES) << shift)


def _row_minimum(v: ModuleType, parts: IntegerParts) -> Any:
    if parts.row_min is None:
        return v.jitable(lambda low, p, g, line: low)
    row_min = v.jitable(parts.row_min)
    return v.jitable(lambda low, p, g, line: low + row_min(p, g) * v.load_f32(line + SCALED))


def tile_dot(v: ModuleType, fmt: type[Format], parts: IntegerParts) -> Any:
    """`(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tile)`: LANES rows by all tokens; strides in bytes.

    A stretch of the rows is unpacked once into `tile`, then every token runs over it.
    """
    block, nbytes, size = fmt.block, fmt.nbytes, parts.tile_bytes(v.LANES)
    unpack = v.jitable(parts.unpack)
    many = v.TOKENS
    panel_many, panel_one = _panel(v, parts, many), _panel(v, parts, 1)

    def dot_tile(weights, row_bytes, k, x, x_stride, tokens, y, y_stride, tile):  # type: ignore[no-untyped-def]
        for at in range(0, k, DEPTH):
            depth = min(DEPTH, k - at)
            for b in range(depth // block):
                unpack(weights + (at // block + b) * nbytes, row_bytes, tile + b * (block // BLOCK) * size)
            t, line = 0, x + at // BLOCK * LINE
            while t + many <= tokens:
                panel_many(tile, depth, line + t * x_stride, x_stride, y + t * y_stride, y_stride, at)
                t += many
            while t < tokens:
                panel_one(tile, depth, line + t * x_stride, x_stride, y + t * y_stride, y_stride, at)
                t += 1

    return v.jitable(dot_tile)


def _panel(v: ModuleType, parts: IntegerParts, tokens: int) -> Any:
    """The tile by a few tokens whose sums stay in registers: y (tokens, LANES) = or += tile @ x."""
    f32, size, after_scales = v.f32, parts.tile_bytes(v.LANES), 4 * v.LANES * (8 + parts.scales)
    weights = v.unroll(8, lambda j: lambda p: v.load(v.i8, p + 4 * v.LANES * j))
    scales = v.unroll(parts.scales, lambda j: lambda p: v.load(f32, p + 4 * v.LANES * (8 + j)))
    minimum = v.jitable(lambda p: v.load(f32, p + after_scales))
    one = _token(v, parts)
    has_min = parts.row_min is not None

    def part(t: int) -> Any:
        if has_min:
            return lambda sums, w, d, p, x, stride: v.fma(
                minimum(p), v.load_splat(f32, x + t * stride + SCALED), one(sums[t], w, d, x + t * stride)
            )
        return lambda sums, w, d, p, x, stride: one(sums[t], w, d, x + t * stride)

    every = v.unroll(tokens, part)
    zeros = v.unroll(tokens, lambda t: lambda y, stride: v.zero(f32))
    loads = v.unroll(tokens, lambda t: lambda y, stride: v.load(f32, y + t * stride))
    stores = v.unroll(tokens, lambda t: lambda sums, y, stride: v.store(y + t * stride, sums[t]))

    def run(tile, depth, x, x_stride, y, y_stride, at):  # type: ignore[no-untyped-def]
        sums = loads(y, y_stride) if at > 0 else zeros(y, y_stride)
        for _ in range(depth // BLOCK):
            sums = every(sums, weights(tile), scales(tile), tile, x, x_stride)
            tile += size
            x += LINE
        stores(sums, y, y_stride)

    return v.jitable(run)


def _token(v: ModuleType, parts: IntegerParts) -> Any:
    """`(sum, weights, scales, line)` -> sum + 32 weights of every row times one token's line."""
    f32, i32, shift = v.f32, v.i32, parts.shift
    if parts.signed:
        shift = 7 if v.FLIP_SIGNED else -1
    start = v.jitable(
        (lambda line: v.load_splat(i32, line) << shift) if shift >= 0 else (lambda line: v.zero(i32))
    )
    if parts.scales == 1:
        dot = v.group_dot(8, parts.bits, parts.signed)

        def one(total, w, d, line):  # type: ignore[no-untyped-def]
            products = dot(start(line + SUM), w, line)
            return v.fma(d[0] * v.load_splat(f32, line + SCALE), v.to_f32(f32, products), total)

        return v.jitable(one)
    half = v.group_dot(4, parts.bits, parts.signed)

    def two(total, w, d, line):  # type: ignore[no-untyped-def]
        low = d[0] * v.to_f32(f32, half(start(line + HALVES), w[:4], line))
        both = v.fma(d[1], v.to_f32(f32, half(start(line + HALVES + 4), w[4:], line + 16)), low)
        return v.fma(both, v.load_splat(f32, line + SCALE), total)

    return v.jitable(two)
