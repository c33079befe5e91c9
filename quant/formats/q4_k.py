"""Q4_K: 256 values in 8 groups of 32, x = d * scale * q - dmin * low, q in 0..15, scale and low in 0..63.

byte  0    2   float16 d
byte  2    2   float16 dmin
byte  4   12   scale and low of every group, 6 bits each (see `k_scales`)
byte 16  128   q: low nibbles of 32 bytes hold one group, high nibbles the next
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.block32 import NIBBLES
from ..blocks.fields import fields, pack_fields
from ..blocks.k_scales import pack_header, scale_parts, scales_and_minima, store_header
from ..blocks.packing import pack_pairs
from ..blocks.parts import IntegerParts, QuantizeParts
from ..format import Format
from ..scale_search.affine import Affine, affine
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SEARCH = Affine(group=32, groups=8, max_level=15, max_scale=63)


class Q4_K(Format, id=12, block=256, nbytes=144, short_units={}):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        vector, size = 4 * v.LANES, 40 * v.LANES  # of a tile's four weights, and of its 32 with scale and minimum
        scales = scale_parts(v)
        store_scales = v.jitable(scales.store)

        def unpack(p, stride, tile):
            store_scales(p, stride, tile + 8 * vector, size)
            for pair in range(4):
                for half in range(2):
                    quads, at = v.load_rows(v.i32, p + 16 + 32 * pair + 16 * half, stride), tile + 4 * vector * half
                    for j in range(4):
                        v.store(at + 2 * size * pair + vector * j, quads[j] & 0x0F0F0F0F)
                        v.store(at + 2 * size * pair + size + vector * j, (quads[j] >> 4) & 0x0F0F0F0F)

        def row(p, g):
            q = v.load(v.i8x32, p + 16 + 32 * (g // 2))
            return (v.shift_bytes(q, 4) if g % 2 else q) & 15

        @v.jitable
        def four_bits(j, quads, i):
            return v.bitcast(v.i8, quads[j // 4][j % 4] >> 4 * i & NIBBLES)

        numbers = v.unroll_map(8, four_bits)

        def weights(p, stride, n, i):
            at = p + 16 + 32 * n
            return numbers((v.load_rows(v.i32, at, stride), v.load_rows(v.i32, at + 16, stride)), i)

        return scales.integer_parts(v, 4, unpack, row, weights)

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> QuantizeParts:
        header, pairs = store_header(v), pack_pairs(v)

        def pack(out, q, scratch, group):
            header(out, scratch, group)
            pairs(out + 16, q)

        return QuantizeParts(search=SEARCH, pack=pack)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        d, low = scales_and_minima(blocks[:, :16])
        q = fields(blocks[:, 16:].reshape(-1, 4, 32), 4).reshape(-1, 8, 32)
        return (d[:, :, None] * q.astype(np.float32) - low[:, :, None]).reshape(-1, 256)

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        found = affine(x, importance, SEARCH)
        return np.concatenate([pack_header(found), pack_fields(found.q.reshape(-1, 4, 64), 4).reshape(-1, 128)], axis=1)
