"""Q4_0: 32 values as x = d * (q - 8), q in 0..15.

    byte 0   2   half d
    byte 2  16   q: low nibbles hold values 0..15, high nibbles values 16..31

The value of largest magnitude gets q = 0, that is -8, so d may be negative.
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
    group=32, groups=1, levels=range(-8, 8), min_scale=1, max_scale=1, trials=((-9.0, 0.1, 21),), floor=0.08
)


class Q4_0(Format, id=2, block=32, nbytes=18):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        nbytes = cls.nbytes

        def unpack(p, stride, tile):
            quads = v.load_rows(v.i32, p + 2, stride)
            for j in range(4):
                v.store(tile + 4 * v.LANES * j, quads[j] & 0x0F0F0F0F)
                v.store(tile + 4 * v.LANES * (j + 4), (quads[j] >> 4) & 0x0F0F0F0F)
            v.store(tile + 32 * v.LANES, v.load_f16_column(v.f32, p, stride))

        def row(p, g):
            return v.nibbles(v.load(v.i8x16, p + 2))

        def row_scale(p, g):
            return v.load_f16_splat(v.f32x8, p)

        def columns(p):
            return (v.load_f16_column(v.f32x8, p, nbytes),)

        return IntegerParts(bits=4, unpack=unpack, row=row, row_scale=row_scale, columns=columns, shift=3)

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> QuantizeParts:
        copy, w = copy_float16(v), block_quant(v)
        extreme_of, inverse_of, put_half, levels_of, put_nibbles = w.extreme, w.inverse, w.half, w.levels, w.nibbles

        def one_pass(x, out):
            bits, extreme = extreme_of(x)
            d = v.div_exact(extreme, v.float32(-8))
            first, last = levels_of(x, v.float32(0), inverse_of(d), 8.5, 15)
            put_half(out, d)
            put_nibbles(out + 2, first, last)
            return bits

        def pack(out, q, scratch, group):
            first, last = v.load(v.i8x16, q), v.load(v.i8x16, q + 16)
            copy(out, scratch + FLOAT16_D + 2 * group)
            put_nibbles(out + 2, first, last)

        return QuantizeParts(one_pass=one_pass, search=SEARCH, pack=pack)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        d, q = float16_values(blocks[:, :2]), fields(blocks[:, 2:], 4)
        return d * (q.astype(np.float32) - 8)

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        if importance is None:
            d = extreme(x) / np.float32(-8)
            q = level(x * inverse(d), 8, 15)
        else:
            found = symmetric(x, importance, SEARCH)
            d, q = found.d[:, None], found.q
        return np.concatenate([float16_bytes(d), pack_fields(q, 4)], axis=1)
