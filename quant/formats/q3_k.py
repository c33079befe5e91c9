"""Q3_K: 256 values in 16 groups of 16, x = d * (scale - 32) * (q - 4), q in 0..7, scale in 0..63.

byte   0  32   bit 2 of q: bit g of byte i belongs to value i of the g-th 32 values
byte  32  64   bits 0..1 of q: the four 2-bit fields of 32 bytes hold 128 values, 32 after 32
byte  96   8   bits 0..3 of scale: low nibbles those of groups 0..7, high nibbles of groups 8..15
byte 104   4   bits 4..5 of scale: the lowest 2-bit fields those of groups 0..3, and so on
byte 108   2   float16 d
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..blocks.fields import fields, float16_bytes, float16_values, pack_fields
from ..blocks.packing import copy_float16, pack_plane, pack_quads
from ..blocks.parts import IntegerParts, Part, QuantizeParts, of_group
from ..blocks.three_bits import THREE_BITS, rearrange_three_bits, three_bit_tiles
from ..format import Format
from ..scale_search.search import FLOAT16_D, SCALE_BYTES
from ..scale_search.symmetric import Symmetric, symmetric
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SEARCH = Symmetric(
    group=16,
    groups=16,
    levels=range(-4, 4),
    min_scale=-32,
    max_scale=31,
    trials=((-5.0, 0.1, 19), (2.0, 0.25, 9)),
    floor=0.1,
)


class Q3_K(Format, id=11, block=256, nbytes=110, short_units=THREE_BITS):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        vector, size = 4 * v.LANES, 40 * v.LANES  # of a tile's four weights, and of its 32 with their two scales
        columns, i8x32, i16x16, scales = _columns(v), v.i8x32, v.i16x16, v.jitable(_tile_scales(v))

        def unpack(p, stride, tile):
            for half in range(2):
                top = v.load_rows(v.i32, p + 16 * half, stride)
                for part in range(2):
                    quads = v.load_rows(v.i32, p + 32 + 32 * part + 16 * half, stride)
                    for j in range(4):
                        at, high = tile + vector * (4 * half + j) + 4 * size * part, top[j] >> 4 * part
                        for i in range(4):
                            third = (high >> i & 0x01010101) << 2
                            v.store(at + size * i, quads[j] >> 2 * i & 0x03030303 | third)
            scales(p, stride, tile)

        def row(p, g):
            low, high = v.load(i8x32, p + 32 + 32 * (g // 4)), v.load(i8x32, p)
            third = v.shift_bytes(high, g - 2) if g > 2 else v.bitcast(i8x32, v.bitcast(i16x16, high) << 2 - g)
            return v.shift_bytes(low, 2 * (g % 4)) & 3 | third & 4

        scale, tiles = of_group(v, columns, 2), three_bit_tiles(v, scales)
        return IntegerParts(4, unpack, row, scale, columns, shift=2, scales=2, tile=tiles)

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> QuantizeParts:
        copy, quads, plane = copy_float16(v), pack_quads(v), pack_plane(v, 2)

        def pack(out, q, scratch, group):
            plane(out, q)
            quads(out + 32, q)
            scales = scratch + SCALE_BYTES + group
            v.store(scales, v.load(v.i8x16, scales) + 32)
            first, last = v.load_i64(scales), v.load_i64(scales + 8)
            v.store(out + 96, first & 0x0F0F0F0F0F0F0F0F | (last & 0x0F0F0F0F0F0F0F0F) << 4)
            high = (first & 0x30303030) >> 4 | (first >> 32 & 0x30303030) >> 2
            v.store(out + 104, v.int32(high | last & 0x30303030 | (last >> 32 & 0x30303030) << 2))
            copy(out + 108, scratch + FLOAT16_D + 2 * group)

        return QuantizeParts(search=SEARCH, pack=pack)

    @staticmethod
    def rearrange_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return rearrange_three_bits(_levels(blocks), blocks)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        scale = (fields(blocks[:, 96:104], 4) | fields(blocks[:, 104:108], 2) << np.uint8(4)).astype(np.float32) - 32
        q = _levels(blocks).reshape(-1, 16, 16).astype(np.float32) - 4
        return ((float16_values(blocks[:, 108:]) * scale)[:, :, None] * q).reshape(-1, 256)

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        found = symmetric(x, importance, SEARCH)
        high = pack_fields(found.q >> np.uint8(2), 1)
        low = pack_fields((found.q & np.uint8(3)).reshape(-1, 2, 128), 2).reshape(-1, 64)
        scale = (found.scale + 32).astype(np.uint8)
        scales = pack_fields(scale & np.uint8(15), 4), pack_fields(scale >> np.uint8(4), 2)
        return np.concatenate([high, low, *scales, float16_bytes(found.d[:, None])], axis=1)


def _levels(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """q of blocks (n, nbytes), uint8 (n, 256)."""
    import numpy as np

    high = fields(blocks[:, :32], 1).reshape(-1, 256)
    low = fields(blocks[:, 32:96].reshape(-1, 2, 32), 2).reshape(-1, 256)
    return low | high << np.uint8(2)


def _tile_scales(v: InstructionSet) -> Part:
    vector, size = 4 * v.LANES, 40 * v.LANES

    def scales(p, stride, tile):
        d = v.load_f16_column(v.f32, p + 108, stride)
        dwords = v.load_rows(v.i32, p + 92, stride)  # 16 bytes from 96 on would reach beyond the block
        low, high = dwords[1:3], dwords[3]
        for quarter in range(4):  # four groups have their bits in the same dwords
            four = (low[quarter % 2] >> quarter // 2 * 4) & 0x0F0F0F0F | (high >> 2 * quarter & 0x03030303) << 4
            for i in range(4):
                scale = d * v.to_f32(v.f32, (four >> 8 * i & 63) - 32)
                v.store(tile + size * (2 * quarter + i // 2) + vector * (8 + i % 2), scale)

    return scales


def _columns(v: InstructionSet) -> Any:
    one, i16x8 = v.Vec("i64", 1), v.Vec("i16", 8)

    def columns(p):
        low, high, d = v.load_i64(p + 96), v.load_i32(p + 104), v.load_f16_splat(v.f32x8, p + 108)
        first = low & 0x0F0F0F0F0F0F0F0F | (high & 0x03030303) << 4 | (high & 0x0C0C0C0C) << 34
        last = (low >> 4) & 0x0F0F0F0F0F0F0F0F | high & 0x30303030 | (high & 0xC0C0C0C0) << 30
        pairs = v.widen_signed(v.i32x8, v.bitcast(i16x8, v.join(v.splat(one, first), v.splat(one, last))))
        return d * v.to_f32(v.f32x8, (pairs & 63) - 32), d * v.to_f32(v.f32x8, (pairs >> 8) - 32)

    return columns
