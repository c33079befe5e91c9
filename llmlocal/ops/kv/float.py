"""Caches of plain numbers, F16 and F32: 32 keys lie side by side number by number, values row by row.

So neither product has to turn anything around: a vector holds the same number of many keys, or many numbers of a value.
"""

from __future__ import annotations

from typing import Any

from ...quant.simd.instruction_set import InstructionSet
from .kind import ALIGN, Kind, Parts
from .panel import product


def _parts(v: InstructionSet, nbytes: int, load: Any, pack: Any) -> Parts:
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

    def load_query(q, t, head, heads, dim, width, scale, target):
        source = q + 4 * dim * (heads * t + head)
        for i in range(0, dim - 7, 8):
            v.store(target + 4 * i, v.load(f32x8, source + 4 * i) * scale)
        for i in range(dim // 8 * 8, width):
            v.store(target + 4 * i, v.load_f32(source + 4 * i) * scale if i < dim else v.float32(0))

    def scores(keys, cell, width, queries, rows, count, points, stride):
        for key in range(0, count, ALIGN):
            group = keys + nbytes * width * (cell + key)
            multiply(queries, 4 * width, rows, points + 4 * key, stride, group, nbytes * ALIGN, width)

    def mix(values, cell, cells, width, points, stride, rows, count, sums, sums_stride, spare):
        for i in range(0, width, ALIGN):
            first = values + nbytes * (width * cell + i)
            multiply(points, stride, rows, sums + 4 * i, sums_stride, first, nbytes * width, count)

    return Parts(*(v.jitable(part) for part in (write_key, write_value, load_query, scores, mix)))


def _halves(v: InstructionSet) -> Parts:
    return _parts(v, 2, lambda p: v.to_f32(v.f32, v.load(v.f16, p)), lambda x: v.to_f16(v.f16x8, x))


def _singles(v: InstructionSet) -> Parts:
    return _parts(v, 4, lambda p: v.load(v.f32, p), lambda x: x)


F16 = Kind("f16", number_bytes=2, scale_bytes=0, as_bytes=False, parts=_halves)
F32 = Kind("f32", number_bytes=4, scale_bytes=0, as_bytes=False, parts=_singles)
