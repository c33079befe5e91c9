"""F16 and F32 caches: the keys of 32 cells are stored transposed, values row by row.

So neither product has to transpose: a vector holds the same element of many keys, or many elements of one value.
"""

from __future__ import annotations

from typing import Any

from ...quant.simd.instruction_set import InstructionSet
from .kv_type import ALIGN, KVKernels, KVType
from .panel import product
from .rows import float_query, multiply_rows


def _kernels(v: InstructionSet, nbytes: int, load: Any, pack: Any) -> KVKernels:
    f32x8, pack, multiply = v.f32x8, v.jitable(pack), product(v, load, nbytes)
    lane = v.slice_of(0, 1)

    def pick(j: int) -> Any:
        one = v.slice_of(j, 1)
        return lambda x, target, step: v.store(target + step * j, one(x))

    scatter = v.map_parts(8, pick)

    @v.jitable
    def write(source, target, step, dim):
        for i in range(0, dim - 7, 8):
            scatter(pack(v.load(f32x8, source + 4 * i)), target + step * i, step)
        for i in range(dim // 8 * 8, dim):
            v.store(target + step * i, lane(pack(v.splat(f32x8, v.load_f32(source + 4 * i)))))

    def write_key(source, keys, cell, cells, dim):
        width = -(-dim // ALIGN) * ALIGN
        write(source, keys + nbytes * (cell // ALIGN * ALIGN * width + cell % ALIGN), nbytes * ALIGN, dim)

    def write_value(source, values, cell, cells, dim):
        width = -(-dim // ALIGN) * ALIGN
        write(source, values + nbytes * width * cell, nbytes, dim)

    def multiply_keys(keys, cell, cells, width, queries, scores):
        for key in range(0, scores.keys, ALIGN):
            group = keys + nbytes * width * (cell + key)
            y = scores.address + 4 * key
            multiply(queries, 4 * width, scores.rows, y, scores.stride, group, nbytes * ALIGN, width, False)

    def multiply_values(values, cell, cells, row, width, weights, sums, sums_stride, spare, goes_on):
        for i in range(0, width, ALIGN):
            first = values + nbytes * (row * cell + i)
            x, y, depth = weights.address, sums + 4 * i, weights.keys
            multiply(x, weights.stride, weights.rows, y, sums_stride, first, nbytes * row, depth, goes_on)

    rows = multiply_rows(v, load, nbytes, scaled=False)
    cells = (v.jitable(part) for part in (write_key, write_value, float_query(v)))
    return KVKernels(*cells, *(v.jitable(part, inline=False) for part in (multiply_keys, multiply_values, rows)))


def _f16(v: InstructionSet) -> KVKernels:
    return _kernels(v, 2, lambda p: v.to_f32(v.f32, v.load(v.f16, p)), lambda x: v.to_f16(v.f16x8, x))


def _f32(v: InstructionSet) -> KVKernels:
    return _kernels(v, 4, lambda p: v.load(v.f32, p), lambda x: x)


F16 = KVType("f16", element_bytes=2, scale_bytes=0, q8_queries=False, kernels=_f16)
F32 = KVType("f32", element_bytes=4, scale_bytes=0, q8_queries=False, kernels=_f32)
