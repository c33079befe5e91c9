"""The cache in bytes: 32 numbers share a float32 scale, 36 bytes. Scores are products of bytes.

LANES keys are a tile as products of weights know it: the bytes of four numbers fill a 32-bit lane, and the keys' scales
follow 32 numbers. Values lie row by row, their scales behind all rows, those of one stretch of 32 side by side: they
are multiplied into the weights of the softmax, so that values are only converted. In place of Q8_0's halves the scales
are float32: 6 % more memory, and no conversion. (Keys' bytes are stored as the instruction set multiplies them.)
"""

from __future__ import annotations

from typing import Any

from ...quant.kernels.q8_activations import BLOCK, LINE, SCALE, SUM, SUM_SHIFT
from ...quant.simd.instruction_set import InstructionSet
from .kind import Kind, Parts
from .panel import by_rows, product

PER_STRETCH = BLOCK + 4


def _parts(v: InstructionSet) -> Parts:
    write_key, write_value = _writers(v)
    load_query = _load_query(v)
    scores, mix = _scores(v), _mix(v)
    return Parts(*(v.jitable(part) for part in (write_key, write_value, load_query, scores, mix)))


def _writers(v: InstructionSet) -> tuple[Any, Any]:
    """The functions that write a key and a value, by rounding 32 numbers to bytes of their greatest magnitude."""
    f32x8, i32x8, i8x8, lanes = v.f32x8, v.i32x8, v.Vec("i8", 8), v.LANES
    flip = 0x80808080 if v.FLIP_SIGNED else 0

    def pick(j: int) -> Any:
        one = v.slice_of(j, 1)
        return lambda words, target: v.store(target + 4 * lanes * j, one(words))

    scatter = v.map_parts(8, pick)

    @v.jitable
    def eight(p, inverse):
        return v.truncate(i8x8, v.to_i32(i32x8, v.round_even(v.load(f32x8, p) * inverse)))

    @v.jitable
    def rounded(p):
        """32 float32 as bytes and their scale; NaN and infinity reach the scale."""
        low = v.maximum(v.absolute(v.load(f32x8, p)), v.absolute(v.load(f32x8, p + 32)))
        high = v.maximum(v.absolute(v.load(f32x8, p + 64)), v.absolute(v.load(f32x8, p + 96)))
        peak = v.reduce_max(v.maximum(low, high))
        doubt = v.reduce_add(
            (v.load(f32x8, p) + v.load(f32x8, p + 32)) + (v.load(f32x8, p + 64) + v.load(f32x8, p + 96))
        )
        scale = v.float32(1 / 127) * peak + (doubt - doubt)
        inverse = v.float32(127) / peak if peak > 0 else v.float32(0)
        low_bytes, high_bytes = (
            v.join(eight(p, inverse), eight(p + 32, inverse)),
            v.join(eight(p + 64, inverse), eight(p + 96, inverse)),
        )
        return v.join(low_bytes, high_bytes), scale

    def write_key(source, keys, cell, cells, dim):
        tile = keys + cell // lanes * lanes * (dim // BLOCK) * PER_STRETCH + 4 * (cell % lanes)
        for i in range(0, dim, BLOCK):
            found, scale = rounded(source + 4 * i)
            scatter(v.bitcast(i32x8, found) ^ flip, tile)
            v.store(tile + BLOCK * lanes, scale)
            tile += PER_STRETCH * lanes

    def write_value(source, values, cell, cells, dim):
        scales = values + cells * dim + 4 * cell
        for i in range(0, dim, BLOCK):
            found, scale = rounded(source + 4 * i)
            v.store(values + dim * cell + i, found)
            v.store(scales + 4 * cells * (i // BLOCK), scale)

    return write_key, write_value


def _load_query(v: InstructionSet) -> Any:
    """The lines of a head out of a token's Q8 record, their scales multiplied."""

    def run(q, t, head, heads, dim, width, scale, target):
        source = q + t * (heads * dim * 27 // 8 + LINE) + head * (dim // BLOCK) * LINE
        for i in range(0, dim // BLOCK * LINE, LINE):
            v.store(target + i, v.load(v.i8x32, source + i))
            v.store(target + i + BLOCK, v.load(v.i8x32, source + i + BLOCK))
            v.store(target + i + SCALE, v.load_f32(source + i + SCALE) * scale)

    return run


def _scores(v: InstructionSet) -> Any:
    lanes = v.LANES
    multiply = by_rows(v, lambda rows: _panel(v, rows))

    def run(keys, cell, width, queries, rows, count, points, stride):
        for key in range(0, count, lanes):
            tile = keys + (cell + key) * (width // BLOCK) * PER_STRETCH
            multiply(queries, 2 * width, rows, points + 4 * key, stride, tile, width)

    return run


def _panel(v: InstructionSet, rows: int) -> Any:
    """`(x, x_stride, y, y_stride, tile, depth)`: y (rows, LANES) = lines times LANES keys."""
    f32, i32, lanes = v.f32, v.i32, v.LANES
    dot, zeros = v.dot4_signed, v.map_parts(rows, lambda r: lambda: v.zero(v.f32))
    words = v.map_parts(8, lambda j: lambda p: v.load(v.i8, p + 4 * lanes * j))

    def start(r: int) -> Any:
        """Keys that are stored with 128 added: minus 128 times the sum of the query's bytes."""
        if not v.FLIP_SIGNED:
            return lambda x, stride: v.zero(i32)
        return lambda x, stride: v.load_splat(i32, x + r * stride + SUM) << (7 - SUM_SHIFT)

    def four(j: int) -> Any:
        def times(r: int) -> Any:
            return lambda sums, w, x, stride: dot(sums[r], w[j], v.load_splat4(v.i8, x + r * stride + 4 * j))

        return v.map_parts(rows, times)

    def scaled(r: int) -> Any:
        def one(sums, products, d, x, stride):
            return v.fma(d * v.load_splat(f32, x + r * stride + SCALE), v.to_f32(f32, products[r]), sums[r])

        return one

    starts, every, scale = (
        v.map_parts(rows, start),
        v.fold_parts([four(j) for j in range(8)]),
        v.map_parts(rows, scaled),
    )
    stores = v.map_parts(rows, lambda r: lambda sums, y, stride: v.store(y + r * stride, sums[r]))

    def run(x, x_stride, y, y_stride, tile, depth):
        sums = zeros()
        for _ in range(depth // BLOCK):
            products = every(starts(x, x_stride), words(tile), x, x_stride)
            sums = scale(sums, products, v.load(f32, tile + BLOCK * lanes), x, x_stride)
            tile += PER_STRETCH * lanes
            x += LINE
        stores(sums, y, y_stride)

    return v.jitable(run)


def _mix(v: InstructionSet) -> Any:
    f32, bytes_of, lanes = v.f32, v.Vec("i8", v.LANES), v.LANES
    multiply = product(v, lambda p: v.to_f32(f32, v.load(bytes_of, p)), 1)

    def run(values, cell, cells, width, points, stride, rows, count, sums, sums_stride, spare):
        for i in range(0, width, BLOCK):
            scales = values + cells * width + 4 * (cells * (i // BLOCK) + cell)
            for r in range(rows):
                for key in range(0, 4 * count, 4 * lanes):
                    weight = v.load(f32, points + r * stride + key) * v.load(f32, scales + key)
                    v.store(spare + r * stride + key, weight)
            multiply(spare, stride, rows, sums + 4 * i, sums_stride, values + cell * width + i, width, count)

    return run


Q8_0 = Kind("q8_0", number_bytes=1, scale_bytes=4, as_bytes=True, parts=_parts, multiple=BLOCK)
