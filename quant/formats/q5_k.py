"""Q5_K: 256 values in 8 groups of 32, x = d * scale * q - dmin * low, q in 0..31, scale and low in 0..63.

byte  0    2   float16 d
byte  2    2   float16 dmin
byte  4   12   scale and low of every group, 6 bits each (see `k_scales`)
byte 16   32   bit 4 of q: bit g of byte i belongs to value i of group g
byte 48  128   bits 0..3 of q: low nibbles of 32 bytes hold one group, high nibbles the next
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.block32 import NIBBLES
from ..blocks.fields import fields, pack_fields
from ..blocks.k_scales import pack_header, scale_parts, scales_and_minima, store_header
from ..blocks.packing import pack_pairs, pack_plane
from ..blocks.parts import IntegerParts, QuantizeParts
from ..format import Format
from ..scale_search.affine import Affine, affine
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SEARCH = Affine(group=32, groups=8, max_level=31, max_scale=63)


class Q5_K(Format, id=13, block=256, nbytes=176, short_units={}):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        vector, size = 4 * v.LANES, 40 * v.LANES  # of a tile's four weights, and of its 32 with scale and minimum
        scales = scale_parts(v)
        store_scales = v.jitable(scales.store)

        def unpack(p, stride, tile):
            store_scales(p, stride, tile + 8 * vector, size)
            for half in range(2):
                fifth = v.load_rows(v.i32, p + 16 + 16 * half, stride)
                for pair in range(4):
                    quads = v.load_rows(v.i32, p + 48 + 32 * pair + 16 * half, stride)
                    for j in range(4):
                        at, high = tile + vector * (4 * half + j) + 2 * size * pair, fifth[j] >> 2 * pair
                        v.store(at, quads[j] & 0x0F0F0F0F | (high & 0x01010101) << 4)
                        v.store(at + size, (quads[j] >> 4) & 0x0F0F0F0F | (high & 0x02020202) << 3)

        def row(p, g):
            q, high = v.load(v.i8x32, p + 48 + 32 * (g // 2)), v.load(v.i8x32, p + 16)
            fifth = v.shift_bytes(high, g - 4) if g > 4 else v.bitcast(v.i8x32, v.bitcast(v.i16x16, high) << 4 - g)
            return (v.shift_bytes(q, 4) if g % 2 else q) & 15 | fifth & 16

        @v.jitable
        def five_bits(j, quads, fifth, n, i):
            low, high = quads[j // 4][j % 4], fifth[j // 4][j % 4] >> 2 * n
            return v.bitcast(v.i8, low >> 4 * i & NIBBLES | (high >> i & 0x01010101) << 4)

        numbers = v.unroll_map(8, five_bits)

        def weights(p, stride, n, i):
            at, high = p + 48 + 32 * n, p + 16
            quads = v.load_rows(v.i32, at, stride), v.load_rows(v.i32, at + 16, stride)
            fifth = v.load_rows(v.i32, high, stride), v.load_rows(v.i32, high + 16, stride)
            return numbers(quads, fifth, n, i)

        return scales.integer_parts(v, 5, unpack, row, weights)

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> QuantizeParts:
        header, pairs, plane = store_header(v), pack_pairs(v), pack_plane(v, 4)

        def pack(out, q, scratch, group):
            header(out, scratch, group)
            plane(out + 16, q)
            pairs(out + 48, q)

        return QuantizeParts(search=SEARCH, pack=pack)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        d, low = scales_and_minima(blocks[:, :16])
        high = fields(blocks[:, 16:48], 1).reshape(-1, 8, 32)
        q = fields(blocks[:, 48:].reshape(-1, 4, 32), 4).reshape(-1, 8, 32) | high << np.uint8(4)
        return (d[:, :, None] * q.astype(np.float32) - low[:, :, None]).reshape(-1, 256)

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        found = affine(x, importance, SEARCH)
        fifth = pack_fields(found.q >> np.uint8(4), 1)
        low = pack_fields((found.q & np.uint8(15)).reshape(-1, 4, 64), 4).reshape(-1, 128)
        return np.concatenate([pack_header(found), fifth, low], axis=1)
