"""IQ1_S: 256 values in 8 groups of 32, x = d * (2 * scale + 1) * (y +- 1/8), y of four vectors of eight in a codebook.

byte  0   2   float16 d
byte  2  32   bits 0..7 of every vector's index
byte 34  16   16 bits for each group, the lowest first: bits 8..10 of its four indices, 3 bits of scale, and 1 where
              an eighth is subtracted
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ..blocks.codebook_packing import high_bits, low_bytes, mark_bits, packed_bits, scale_bits
from ..blocks.codebook_parts import indices, shifted_parts
from ..blocks.codebooks import codebook
from ..blocks.fields import float16_bytes, float16_values
from ..blocks.packing import copy_float16
from ..blocks.parts import IntegerParts, QuantizeParts
from ..format import Format
from ..scale_search.codebook import INDICES, MARKS, Codebook, codebook_blocks
from ..scale_search.nearest_vector import Book
from ..scale_search.search import FLOAT16_D
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class IQ1_S(Format, id=19, block=256, nbytes=50):
    needs_importance = True

    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        i16x8, i64x8 = v.Vec("i16", 8), v.Vec("i64", 8)
        number = indices(v, (8, 21, 34, 47), 0x700)

        def prepare(p, out):
            bits = v.load(i16x8, p + 34)
            number(v.load(v.i8x32, p + 2), v.widen_unsigned(i64x8, bits), out + INDICES)
            v.store(
                out + MARKS,
                v.splat(v.i8x32, 1) - v.bitcast(v.i8x32, v.widen_unsigned(v.i32x8, bits >> 15) * 0x02020202),
            )

        def columns(p):
            scale = v.widen_unsigned(v.i32x8, v.load(i16x8, p + 34) >> 12 & 7)
            return (v.load_f16_splat(v.f32x8, p) * 0.125 * v.to_f32(v.f32x8, scale + scale + 1),)

        return shifted_parts(v, 8 * codebook(cls.name), 4, prepare, columns, scales=1)

    @classmethod
    @cache
    def search(cls) -> Codebook:
        """How blocks are quantized: in eighths, so that levels and shifts are whole numbers."""
        return Codebook(Book(8 * codebook(cls.name)), 32, 8, most=7, unit=0.125, signs="none", shifted=32)

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> QuantizeParts:
        copy, low, high, scales, marks, one = (
            copy_float16(v),
            low_bytes(v),
            high_bits(v, 3),
            scale_bits(v, 3),
            mark_bits(v, 1, 1),
            v.int16,
        )

        def pack(out, levels, scratch, group):
            copy(out, scratch + FLOAT16_D + 2 * group)
            low(out + 2, levels, 32)
            for g in range(8):
                top, scale = high(levels, 4 * g, 4), scales(scratch, group + g, 1)
                v.store(out + 34 + 2 * g, one(top | scale << 12 | marks(levels, 4 * g, 1) << 15))

        return QuantizeParts(search=cls.search(), pack=pack)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        bits = np.ascontiguousarray(blocks[:, 34:]).view(np.uint16)
        scale = float16_values(blocks[:, :2]) * (2 * (bits >> 12 & 7) + 1).astype(np.float32)
        delta = np.where(bits >> 15, np.float32(-0.125), np.float32(0.125))
        index = blocks[:, 2:34].reshape(-1, 8, 4) + (bits[..., None] >> np.arange(0, 12, 3, dtype=np.uint16) & 7) * 256
        values = codebook("IQ1_S")[index] + delta[..., None, None]
        return (scale[..., None, None] * values).reshape(-1, 256)

    @classmethod
    def quantize_blocks(cls, x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        found = codebook_blocks(x, importance, cls.search())
        high = packed_bits(found.indices.reshape(-1, 8, 4) >> 8, 3, "u2").view(np.uint16)[..., 0]
        bits = high | found.scale.astype(np.uint16) << 12 | found.marks[:, ::4].astype(np.uint16) << 15
        parts = [float16_bytes(found.d[:, None]), found.indices.astype(np.uint8), bits.view(np.uint8)]
        return np.concatenate(parts, axis=1)
