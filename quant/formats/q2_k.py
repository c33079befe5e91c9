"""Q2_K: 256 values in 16 groups of 16, x = d * scale * q - dmin * low, q in 0..3, scale and low in 0..15.

byte  0  16   low nibbles: scale of every group; high nibbles: low
byte 16  64   q: the four 2-bit fields of 32 bytes hold 128 values, 32 after 32
byte 80   2   float16 d
byte 82   2   float16 dmin
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..blocks.fields import fields, float16_bytes, float16_values, pack_fields
from ..blocks.packing import copy_float16, pack_quads
from ..blocks.parts import IntegerParts, Part, QuantizeParts, TileParts, of_group
from ..format import Format
from ..scale_search.affine import Affine, affine
from ..scale_search.search import FLOAT16_D, FLOAT16_DMIN, MIN_BYTES, SCALE_BYTES
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SEARCH = Affine(group=16, groups=16, max_level=3, max_scale=15, even=0.25, first=-0.9, step=0.1, trials=19)


class Q2_K(Format, id=10, block=256, nbytes=84, short_units={80: 2, 82: 2}):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        vector, size = 4 * v.LANES, 48 * v.LANES  # of a tile's four weights, and of its 32 with scales and minima
        columns, column_min = _columns(v)
        scales = v.jitable(_tile_scales(v))
        numbers = v.jitable(lambda p, i: v.bitcast(v.i8, v.load_column(v.i32, p, 0) >> 2 * i & 0x03030303))
        eight = v.unroll_map(8, lambda j, p, i: numbers(p + 4 * j, i))

        def unpack(p, stride, tile):
            for half in range(2):
                for part in range(2):
                    quads = v.load_rows(v.i32, p + 16 + 32 * part + 16 * half, stride)
                    at = tile + 4 * vector * half + 4 * size * part
                    for j in range(4):
                        for i in range(4):
                            v.store(at + vector * j + size * i, quads[j] >> 2 * i & 0x03030303)
            scales(p, stride, tile)

        def tile_weights(p, stride, n, i):
            v.forget_memory()  # as for Q6_K: else all groups of a half would be loaded at once
            return eight(p + 16 + 32 * n, i)

        def row(p, g):
            return v.shift_bytes(v.load(v.i8x32, p + 16 + 32 * (g // 4)), 2 * (g % 4)) & 3

        return IntegerParts(
            bits=4,
            unpack=unpack,
            row=row,
            row_scale=of_group(v, columns, 2),
            columns=columns,
            row_min=of_group(v, column_min, 2),
            column_min=column_min,
            scales=2,
            minima=2,
            tile=TileParts(tile_weights, scales, unit=4),
        )

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> QuantizeParts:
        copy, quads = copy_float16(v), pack_quads(v)

        def pack(out, q, scratch, group):
            low = v.load(v.i8x16, scratch + MIN_BYTES + group) << 4
            v.store(out, v.load(v.i8x16, scratch + SCALE_BYTES + group) | low)
            quads(out + 16, q)
            copy(out + 80, scratch + FLOAT16_D + 2 * group)
            copy(out + 82, scratch + FLOAT16_DMIN + 2 * group)

        return QuantizeParts(search=SEARCH, pack=pack)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        pairs, d, dmin = blocks[:, :16], float16_values(blocks[:, 80:82]), float16_values(blocks[:, 82:84])
        scale, low = d * (pairs & np.uint8(15)).astype(np.float32), dmin * (pairs >> np.uint8(4)).astype(np.float32)
        q = fields(blocks[:, 16:80].reshape(-1, 2, 32), 2).reshape(-1, 16, 16).astype(np.float32)
        return (scale[:, :, None] * q - low[:, :, None]).reshape(-1, 256)

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        found = affine(x, importance, SEARCH)
        q = pack_fields(found.q.reshape(-1, 2, 128), 2).reshape(-1, 64)
        halves = [float16_bytes(d[:, None]) for d in (found.d, found.dmin)]
        return np.concatenate([found.scale | found.low << np.uint8(4), q, *halves], axis=1)


def _tile_scales(v: InstructionSet) -> Part:
    vector, size = 4 * v.LANES, 48 * v.LANES

    def scales(p, stride, tile):
        d, dmin = v.load_f16_column(v.f32, p + 80, stride), v.load_f16_column(v.f32, p + 82, stride)
        pairs, minus = v.load_rows(v.i32, p, stride), v.zero(v.f32) - dmin
        for j in range(4):
            for i in range(4):
                at, pair = tile + size * (2 * j + i // 2) + vector * (8 + i % 2), pairs[j] >> 8 * i
                v.store(at, d * v.to_f32(v.f32, pair & 15))
                v.store(at + 2 * vector, minus * v.to_f32(v.f32, pair >> 4 & 15))

    return scales


def _columns(v: InstructionSet) -> tuple[Any, Any]:
    i16x8 = v.Vec("i16", 8)

    def columns(p):
        pairs, d = v.widen_signed(v.i32x8, v.load(i16x8, p)), v.load_f16_splat(v.f32x8, p + 80)
        return d * v.to_f32(v.f32x8, pairs & 15), d * v.to_f32(v.f32x8, pairs >> 8 & 15)

    def column_min(p):
        pairs, dmin = v.widen_signed(v.i32x8, v.load(i16x8, p)), v.load_f16_splat(v.f32x8, p + 82)
        minus = v.zero(v.f32x8) - dmin
        return minus * v.to_f32(v.f32x8, pairs >> 4 & 15), minus * v.to_f32(v.f32x8, pairs >> 12 & 15)

    return columns, column_min
