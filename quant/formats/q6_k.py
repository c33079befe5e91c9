"""Q6_K: 256 values in 16 groups of 16, x = d * scale * (q - 32), q in 0..63, scale int8.

    byte   0  128   bits 0..3 of q
    byte 128   64   bits 4..5 of q
    byte 192   16   scale of every group, int8
    byte 208    2   float16 d

Bits lie in two halves of 128 values each. In a half, low nibbles of its 64 bytes hold values 0..63, high nibbles values
64..127; the four 2-bit fields of its 32 high bytes hold values 0..31, 32..63, 64..95 and 96..127.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.fields import fields, float16_bytes, float16_values, pack_fields
from ..blocks.packing import copy_float16
from ..blocks.parts import IntegerParts, QuantizeParts
from ..blocks.six_bits import SIX_BITS, rearrange_six_bits, six_bit_tiles
from ..format import Format
from ..scale_search.search import FLOAT16_D, SCALE_BYTES
from ..scale_search.symmetric import Symmetric, symmetric
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SEARCH = Symmetric(
    group=16, groups=16, levels=range(-32, 32), min_scale=-128, max_scale=127, trials=((-34.0, 0.2, 21),)
)


class Q6_K(Format, id=14, block=256, nbytes=210, short_units=SIX_BITS):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        i16x8 = v.Vec("i16", 8)
        vector, size = 4 * v.LANES, 40 * v.LANES  # of a tile's four weights, and of its 32 with their two scales

        # With two registers for a vector of four weights, those of all rows at once would be more than there are.
        kind = v.i32 if v.row_i8.n == 64 else v.i32x8
        rows_at_once = kind.n

        @v.jitable
        def unpack_half(p, high, stride, tile):
            """16 bytes of low bits at `p`, as many 32 on, their high bits: a half of each of four groups of 32."""
            first, second = v.load_rows(kind, p, stride), v.load_rows(kind, p + 32, stride)
            top = v.load_rows(kind, high, stride)
            for j in range(4):
                at = tile + vector * j
                v.store(at, first[j] & 0x0F0F0F0F | (top[j] & 0x03030303) << 4)
                v.store(at + size, second[j] & 0x0F0F0F0F | (top[j] & 0x0C0C0C0C) << 2)
                v.store(at + 2 * size, (first[j] >> 4) & 0x0F0F0F0F | top[j] & 0x30303030)
                v.store(at + 3 * size, (second[j] >> 4) & 0x0F0F0F0F | (top[j] & 0xC0C0C0C0) >> 2)

        def unpack(p, stride, tile):
            for rows in range(0, v.LANES, rows_at_once):
                for half in range(2):
                    for part in range(2):
                        at = tile + 4 * rows + 4 * size * half + 4 * vector * part
                        low, high = p + stride * rows + 64 * half + 16 * part, 128 + 32 * half + 16 * part
                        unpack_half(low, p + stride * rows + high, stride, at)
            d, scales = v.load_f16_column(v.f32, p + 208, stride), v.load_rows(v.i32, p + 192, stride)
            for j in range(4):
                for i in range(4):
                    scale = d * v.to_f32(v.f32, v.shift_signed(scales[j] << 24 - 8 * i, 24))
                    v.store(tile + size * (2 * j + i // 2) + 32 * v.LANES + vector * (i % 2), scale)

        def row(p, g):
            low = v.load(v.i8x32, p + 64 * (g // 4) + 32 * (g % 2))
            high = v.load(v.i8x32, p + 128 + 32 * (g // 4))
            low = v.shift_bytes(low, 4) if g % 4 > 1 else low
            return low & 15 | (v.shift_bytes(high, 2 * (g % 4)) & 3) << 4

        def row_scale(p, g):
            scale = v.load_two_halves(v.f32x8, p + 192 + 2 * g)
            return v.load_f16_splat(v.f32x8, p + 208) * scale

        def columns(p):
            pairs, d = v.load(i16x8, p + 192), v.load_f16_splat(v.f32x8, p + 208)
            wide = v.widen_signed(v.i32x8, pairs)
            low = v.to_f32(v.f32x8, v.shift_signed(wide << 24, 24))
            return d * low, d * v.to_f32(v.f32x8, v.shift_signed(wide, 8))

        tile = six_bit_tiles(v)
        return IntegerParts(6, unpack, row, row_scale, columns, shift=5, scales=2, tile=tile)

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> QuantizeParts:
        copy, i8x32 = copy_float16(v), v.i8x32

        def pack(out, q, scratch, group):
            for half in range(2):
                p, low = q + 128 * half, out + 64 * half
                a, b, c, d = v.load(i8x32, p), v.load(i8x32, p + 32), v.load(i8x32, p + 64), v.load(i8x32, p + 96)
                v.store(low, a & 15 | c << 4)
                v.store(low + 32, b & 15 | d << 4)
                v.store(out + 128 + 32 * half, a >> 4 | b >> 4 << 2 | (c & 48) | (d & 48) << 2)
            v.store(out + 192, v.load(v.i8x16, scratch + SCALE_BYTES + group))
            copy(out + 208, scratch + FLOAT16_D + 2 * group)

        return QuantizeParts(search=SEARCH, pack=pack)

    @staticmethod
    def rearrange_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return rearrange_six_bits(_levels(blocks), blocks)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        scale, d = blocks[:, 192:208].view(np.int8).astype(np.float32), float16_values(blocks[:, 208:])
        q = _levels(blocks).reshape(-1, 16, 16).astype(np.float32) - 32
        return ((d * scale)[:, :, None] * q).reshape(-1, 256)

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        found = symmetric(x, importance, SEARCH)
        halves = found.q.reshape(-1, 2, 128)
        low = pack_fields(halves & np.uint8(15), 4).reshape(-1, 128)
        high = pack_fields(halves >> np.uint8(4), 2).reshape(-1, 64)
        return np.concatenate([low, high, found.scale.view(np.uint8), float16_bytes(found.d[:, None])], axis=1)


def _levels(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """q of blocks (n, nbytes), uint8 (n, 2, 128)."""
    import numpy as np

    low, high = fields(blocks[:, :128].reshape(-1, 2, 64), 4), fields(blocks[:, 128:192].reshape(-1, 2, 32), 2)
    return low | high << np.uint8(4)
