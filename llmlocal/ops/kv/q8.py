"""The Q8_0 cache: blocks of 32 int8 with a float32 scale, 36 bytes. Scores are integer products.

LANES keys form a tile as in the matrix products of weights: a 32-bit lane holds four numbers of one key, and the scales
of the keys follow every 32 numbers. Values lie row by row, their scales after all rows, those of a block side by side;
they are multiplied into the softmax weights, so values only have to be converted. Scales are float32 instead of GGUF's
float16: 6 % more memory, but no conversion. Keys are stored in the form that the instruction set multiplies.
"""

from __future__ import annotations

from typing import Any

from ...quant.kernels.q8_activations import BLOCK, LINE, SCALE, SUM, SUM_SHIFT, q8_bytes
from ...quant.simd.instruction_set import InstructionSet
from .kv_type import KVKernels, KVType
from .panel import by_rows, product
from .rows import multiply_rows

BLOCK_BYTES = BLOCK + 4


def _kernels(v: InstructionSet) -> KVKernels:
    write_key, write_value = _writers(v)
    load_query = _load_query(v)
    products = _multiply_keys(v), _multiply_values(v), multiply_rows(v, _loaded(v), 1, scaled=True)
    cells = (v.jitable(part) for part in (write_key, write_value, load_query))
    return KVKernels(*cells, *(v.jitable(part, inline=False) for part in products))


def _loaded(v: InstructionSet) -> Any:
    """`(p)`: LANES int8 as float32."""
    f32, kind = v.f32, v.Vec("i8", v.LANES)
    return lambda p: v.to_f32(f32, v.load(kind, p))


def _writers(v: InstructionSet) -> tuple[Any, Any]:
    """`write_key` and `write_value`: the largest magnitude of 32 numbers becomes 127."""
    f32x8, i32x8, i8x8, lanes = v.f32x8, v.i32x8, v.Vec("i8", 8), v.LANES
    flip = 0x80808080 if v.FLIP_SIGNED else 0

    def store_dword(j: int) -> Any:
        one = v.slice_of(j, 1)
        return lambda dwords, target: v.store(target + 4 * lanes * j, one(dwords))

    scatter = v.map_parts(8, store_dword)

    @v.jitable
    def eight(p, inverse):
        return v.truncate(i8x8, v.to_i32(i32x8, v.round_even(v.load(f32x8, p) * inverse)))

    @v.jitable
    def quantized(p):
        """32 float32 as int8, and their scale, which is NaN if one of them is not finite."""
        low = v.maximum(v.absolute(v.load(f32x8, p)), v.absolute(v.load(f32x8, p + 32)))
        high = v.maximum(v.absolute(v.load(f32x8, p + 64)), v.absolute(v.load(f32x8, p + 96)))
        peak = v.reduce_max(v.maximum(low, high))
        total = v.reduce_add(
            (v.load(f32x8, p) + v.load(f32x8, p + 32)) + (v.load(f32x8, p + 64) + v.load(f32x8, p + 96))
        )
        scale = v.float32(1 / 127) * peak + (total - total)
        inverse = v.float32(127) / peak if peak > 0 else v.float32(0)
        low_bytes, high_bytes = (
            v.join(eight(p, inverse), eight(p + 32, inverse)),
            v.join(eight(p + 64, inverse), eight(p + 96, inverse)),
        )
        return v.join(low_bytes, high_bytes), scale

    def write_key(source, keys, cell, cells, dim):
        tile = keys + cell // lanes * lanes * (dim // BLOCK) * BLOCK_BYTES + 4 * (cell % lanes)
        for i in range(0, dim, BLOCK):
            block, scale = quantized(source + 4 * i)
            scatter(v.bitcast(i32x8, block) ^ flip, tile)
            v.store(tile + BLOCK * lanes, scale)
            tile += BLOCK_BYTES * lanes

    def write_value(source, values, cell, cells, dim):
        scales = values + cells * dim + 4 * cell
        for i in range(0, dim, BLOCK):
            block, scale = quantized(source + 4 * i)
            v.store(values + dim * cell + i, block)
            v.store(scales + 4 * cells * (i // BLOCK), scale)

    return write_key, write_value


def _load_query(v: InstructionSet) -> Any:
    """Copies the lines of one head from a token's Q8 record, their scales times `scale`."""
    record_bytes = v.jitable(q8_bytes)

    def run(q, t, head, heads, dim, width, scale, target):
        source = q + t * record_bytes(heads * dim) + head * (dim // BLOCK) * LINE
        for i in range(0, dim // BLOCK * LINE, LINE):
            v.store(target + i, v.load(v.i8x32, source + i))
            v.store(target + i + BLOCK, v.load(v.i8x32, source + i + BLOCK))
            v.store(target + i + SCALE, v.load_f32(source + i + SCALE) * scale)

    return run


def _multiply_keys(v: InstructionSet) -> Any:
    lanes = v.LANES
    multiply = by_rows(v, lambda rows: _panel(v, rows))

    def run(keys, cell, cells, width, queries, scores):
        for key in range(0, scores.keys, lanes):
            tile = keys + (cell + key) * (width // BLOCK) * BLOCK_BYTES
            multiply(queries, 2 * width, scores.rows, scores.address + 4 * key, scores.stride, tile, width)

    return run


def _panel(v: InstructionSet, rows: int) -> Any:
    """`(x, x_stride, y, y_stride, tile, depth)`: y (rows, LANES) = Q8 lines times LANES keys."""
    f32, i32, lanes = v.f32, v.i32, v.LANES
    dot, zeros = v.dot4_signed, v.map_parts(rows, lambda r: lambda: v.zero(v.f32))
    dwords = v.map_parts(8, lambda j: lambda p: v.load(v.i8, p + 4 * lanes * j))

    def start(r: int) -> Any:
        """Where keys are stored with 128 added: -128 times the sum of the query's bytes."""
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
            products = every(starts(x, x_stride), dwords(tile), x, x_stride)
            sums = scale(sums, products, v.load(f32, tile + BLOCK * lanes), x, x_stride)
            tile += BLOCK_BYTES * lanes
            x += LINE
        stores(sums, y, y_stride)

    return v.jitable(run)


def _multiply_values(v: InstructionSet) -> Any:
    f32, lanes, multiply = v.f32, v.LANES, product(v, _loaded(v), 1)

    def run(values, cell, cells, row, width, weights, sums, sums_stride, spare, goes_on):
        for i in range(0, width, BLOCK):
            scales = values + cells * row + 4 * (cells * (i // BLOCK) + cell)
            for r in range(weights.rows):
                source, target = weights.address + r * weights.stride, spare + r * weights.stride
                for key in range(0, 4 * weights.keys, 4 * lanes):
                    v.store(target + key, v.load(f32, source + key) * v.load(f32, scales + key))
            y, first = sums + 4 * i, values + cell * row + i
            multiply(spare, weights.stride, weights.rows, y, sums_stride, first, row, weights.keys, goes_on)

    return run


Q8_0 = KVType("q8_0", element_bytes=1, scale_bytes=4, q8_queries=True, kernels=_kernels, head_multiple=BLOCK)
