"""IQ4_XS: 256 values in 8 groups of 32, x = d * (scale - 32) * level of q (see `lookup_levels`), scale in 0..63.

byte 0    2   float16 d
byte 2    2   bits 4..5 of scale: the lowest 2-bit field belongs to group 0
byte 4    4   bits 0..3 of scale, likewise
byte 8  128   q: low nibbles of 16 bytes hold the first half of a group, high nibbles the second half
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.block32 import tile_nibbles
from ..blocks.fields import fields, float16_bytes, float16_values, pack_fields
from ..blocks.lookup_levels import NON_LINEAR, NON_LINEAR_TRIALS
from ..blocks.packing import copy_float16
from ..blocks.parts import IntegerParts, QuantizeParts, TileParts, of_group
from ..format import Format
from ..scale_search.search import FLOAT16_D, SCALE_BYTES
from ..scale_search.symmetric import Symmetric, symmetric
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SEARCH = Symmetric(
    group=32, groups=8, levels=NON_LINEAR, min_scale=-32, max_scale=31, trials=NON_LINEAR_TRIALS, floor=0.12
)


class IQ4_XS(Format, id=23, block=256, nbytes=136, short_units={}):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        vector, size = 4 * v.LANES, 36 * v.LANES  # of a tile's four weights, and of its 32 with their scale
        level, flipped = v.lookup16(NON_LINEAR), v.lookup16([x ^ -128 if v.FLIP_SIGNED else x for x in NON_LINEAR])

        nibbles, look_up = tile_nibbles(v, 8), v.unroll_map(8, lambda j, q: flipped(q[j]))

        @v.jitable
        def scales(p, stride, tile):
            header, low = v.load_column(v.i32, p, stride), v.load_column(v.i32, p + 4, stride)
            d = v.to_f32(v.f32, v.bitcast(v.f16, v.truncate(v.i16, header)))
            for g in range(8):
                scale = (low >> 4 * g & 15 | (header >> 16 + 2 * g & 3) << 4) - 32
                v.store(tile + size * g + 8 * vector, d * v.to_f32(v.f32, scale))

        def unpack(p, stride, tile):
            scales(p, stride, tile)
            for g in range(8):
                numbers = look_up(nibbles(p + 16 * g, stride))
                for j in range(8):
                    v.store(tile + size * g + vector * j, numbers[j])

        tile = TileParts(lambda p, stride, n, i: look_up(nibbles(p + 16 * n, stride)), scales)

        def row(p, g):
            return level(v.nibbles(v.load(v.i8x16, p + 8 + 16 * g)))

        def columns(p):
            low = v.load_splat(v.i32x8, p + 4) >> v.iota(v.i32x8, 4) & 15
            top = v.splat(v.i32x8, v.load_u16(p + 2)) >> v.iota(v.i32x8, 2) & 3
            return (v.load_f16_splat(v.f32x8, p) * v.to_f32(v.f32x8, (low | top << 4) - 32),)

        return IntegerParts(8, unpack, row, of_group(v, columns), columns, signed=True, tile=tile)

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> QuantizeParts:
        copy = copy_float16(v)

        def pack(out, q, scratch, group):
            copy(out, scratch + FLOAT16_D + 2 * group)
            low, top = 0, 0
            for g in range(8):
                scale = v.load_i8(scratch + SCALE_BYTES + group + g) + 32
                low, top = low | (scale & 15) << 4 * g, top | scale >> 4 << 2 * g
                first, last = v.load(v.i8x16, q + 32 * g), v.load(v.i8x16, q + 32 * g + 16)
                v.store(out + 8 + 16 * g, first | last << 4)
            v.store(out + 2, v.int32(top | low << 16))
            v.store(out + 6, v.int16(low >> 16))

        return QuantizeParts(search=SEARCH, pack=pack)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        steps = np.arange(8, dtype=np.uint32)
        top, low = blocks[:, 2:4].copy().view(np.uint16), blocks[:, 4:8].copy().view(np.uint32)
        scale = (low >> 4 * steps & 15 | (top >> 2 * steps & 3) << 4).astype(np.float32) - 32
        level = np.array(NON_LINEAR, np.float32)[fields(blocks[:, 8:].reshape(-1, 8, 16), 4)]
        return ((float16_values(blocks[:, :2]) * scale)[:, :, None] * level).reshape(-1, 256)

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        found = symmetric(x, importance, SEARCH)
        scale, steps = (found.scale + 32).astype(np.uint32), np.arange(8, dtype=np.uint32)
        top = np.bitwise_or.reduce(scale >> np.uint32(4) << 2 * steps, axis=1, keepdims=True).astype(np.uint16)
        low = np.bitwise_or.reduce((scale & np.uint32(15)) << 4 * steps, axis=1, keepdims=True)
        q = pack_fields(found.q.reshape(-1, 8, 32), 4).reshape(-1, 128)
        return np.concatenate([float16_bytes(found.d[:, None]), top.view(np.uint8), low.view(np.uint8), q], axis=1)
