"""Q4_1: 32 values as x = d * q + m, q in 0..15.

    byte 0   2   half d
    byte 2   2   half m, the smallest value
    byte 4  16   q: low nibbles hold values 0..15, high nibbles values 16..31

The smallest value gets q = 0, the largest 15.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.fields import fields, float16_bytes, float16_values, inverse, level, pack_fields
from ..blocks.legacy_block_quant import block_quant
from ..blocks.packing import copy_float16
from ..blocks.parts import IntegerParts, QuantizeParts
from ..format import Format
from ..scale_search.affine import Affine, affine
from ..scale_search.search import FLOAT16_D, FLOAT16_DMIN
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SEARCH = Affine(group=32, groups=1, max_level=15, max_scale=1, even=1.3, first=-1.2, step=0.1, trials=25)


class Q4_1(Format, id=3, block=32, nbytes=20):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        nbytes = cls.nbytes

        def unpack(p, stride, tile):
            quads = v.load_rows(v.i32, p + 4, stride)
            for j in range(4):
                v.store(tile + 4 * v.LANES * j, quads[j] & 0x0F0F0F0F)
                v.store(tile + 4 * v.LANES * (j + 4), (quads[j] >> 4) & 0x0F0F0F0F)
            v.store(tile + 32 * v.LANES, v.load_f16_column(v.f32, p, stride))
            v.store(tile + 36 * v.LANES, v.load_f16_column(v.f32, p + 2, stride))

        def row(p, g):
            return v.nibbles(v.load(v.i8x16, p + 4))

        def row_scale(p, g):
            return v.load_f16_splat(v.f32x8, p)

        def columns(p):
            return (v.load_f16_column(v.f32x8, p, nbytes),)

        return IntegerParts(
            bits=4,
            unpack=unpack,
            row=row,
            row_scale=row_scale,
            columns=columns,
            row_min=lambda p, g: v.load_f16_splat(v.f32x8, p + 2),
            column_min=lambda p: (v.load_f16_column(v.f32x8, p + 2, nbytes),),
        )

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> QuantizeParts:
        copy, i16, w = copy_float16(v), v.Vec("i16", 1), block_quant(v)
        span_of, inverse_of, put_half, levels_of, put_nibbles = w.span, w.inverse, w.half, w.levels, w.nibbles

        def one_pass(x, out):
            bits, low, high = span_of(x)
            d = v.div_exact(v.sub_exact(high, low), v.float32(15))
            first, last = levels_of(x, low, inverse_of(d), 0.5, 15)
            put_half(out, d)
            put_half(out + 2, low)
            put_nibbles(out + 4, first, last)
            return bits

        def pack(out, q, scratch, group):
            first, last = v.load(v.i8x16, q), v.load(v.i8x16, q + 16)
            copy(out, scratch + FLOAT16_D + 2 * group)
            v.store(out + 2, v.load(i16, scratch + FLOAT16_DMIN + 2 * group) ^ -0x8000)
            put_nibbles(out + 4, first, last)

        return QuantizeParts(one_pass=one_pass, search=SEARCH, pack=pack)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        d, m, q = float16_values(blocks[:, :2]), float16_values(blocks[:, 2:4]), fields(blocks[:, 4:], 4)
        return d * q.astype(np.float32) + m

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        if importance is None:
            m = x.min(axis=1, keepdims=True)
            d = (x.max(axis=1, keepdims=True) - m) / 15
            q = level((x - m) * inverse(d), 0, 15)
        else:
            found = affine(x, importance, SEARCH)
            d, m, q = found.d[:, None], -found.dmin[:, None], found.q
        return np.concatenate([float16_bytes(d), float16_bytes(m), pack_fields(q, 4)], axis=1)
