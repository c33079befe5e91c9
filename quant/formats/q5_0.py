"""Q5_0: 32 values as x = d * (q - 16), q in 0..31.

    byte 0   2   half d
    byte 2   4   bit 4 of q: bit j of these 32 belongs to value j
    byte 6  16   bits 0..3 of q: low nibbles hold values 0..15, high nibbles values 16..31

The value of largest magnitude gets q = 0, that is -16, so d may be negative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.fields import extreme, fields, float16_bytes, float16_values, inverse, level, pack_fields
from ..blocks.legacy_block_quant import block_quant
from ..blocks.packing import copy_float16
from ..blocks.parts import IntegerParts, QuantizeParts
from ..format import Format
from ..scale_search.search import FLOAT16_D
from ..scale_search.symmetric import Symmetric, symmetric
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SEARCH = Symmetric(
    group=32, groups=1, levels=range(-16, 16), min_scale=1, max_scale=1, trials=((-17.0, 0.1, 21),), floor=0.08
)


class Q5_0(Format, id=6, block=32, nbytes=22):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        nbytes = cls.nbytes

        def unpack(p, stride, tile):
            quads, high = v.load_rows(v.i32, p + 6, stride), v.load_column(v.i32, p + 2, stride)
            for j in range(4):
                v.store(tile + 4 * v.LANES * j, quads[j] & 0x0F0F0F0F | v.spread_4_bits(high >> 4 * j) << 4)
                fifth = v.spread_4_bits(high >> 4 * j + 16) << 4
                v.store(tile + 4 * v.LANES * (j + 4), (quads[j] >> 4) & 0x0F0F0F0F | fifth)
            v.store(tile + 32 * v.LANES, v.load_f16_column(v.f32, p, stride))

        def row(p, g):
            return v.nibbles(v.load(v.i8x16, p + 6)) | v.load_spread_bits(v.i8x32, p + 2) & 16

        def row_scale(p, g):
            return v.load_f16_splat(v.f32x8, p)

        def columns(p):
            return (v.load_f16_column(v.f32x8, p, nbytes),)

        return IntegerParts(bits=5, unpack=unpack, row=row, row_scale=row_scale, columns=columns, shift=4)

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> QuantizeParts:
        copy, w = copy_float16(v), block_quant(v)
        extreme_of, inverse_of, put_half, levels_of, put_nibbles, put_fifths = (
            w.extreme,
            w.inverse,
            w.half,
            w.levels,
            w.nibbles,
            w.fifths,
        )

        def one_pass(x, out):
            bits, extreme = extreme_of(x)
            d = v.div_exact(extreme, v.float32(-16))
            first, last = levels_of(x, v.float32(0), inverse_of(d), 16.5, 31)
            put_half(out, d)
            put_fifths(out + 2, first, last)
            put_nibbles(out + 6, first, last)
            return bits

        def pack(out, q, scratch, group):
            first, last = v.load(v.i8x16, q), v.load(v.i8x16, q + 16)
            copy(out, scratch + FLOAT16_D + 2 * group)
            put_fifths(out + 2, first, last)
            put_nibbles(out + 6, first, last)

        return QuantizeParts(one_pass=one_pass, search=SEARCH, pack=pack)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        d = float16_values(blocks[:, :2])
        high = np.unpackbits(blocks[:, 2:6], axis=1, bitorder="little")
        q = fields(blocks[:, 6:], 4) | high << np.uint8(4)
        return d * (q.astype(np.float32) - 16)

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        if importance is None:
            d = extreme(x) / np.float32(-16)
            q = level(x * inverse(d), 16, 31)
        else:
            found = symmetric(x, importance, SEARCH)
            d, q = found.d[:, None], found.q
        high = np.packbits(q >> 4, axis=1, bitorder="little")
        return np.concatenate([float16_bytes(d), high, pack_fields(q & np.uint8(15), 4)], axis=1)
