"""IQ1_M: 256 values in 16 groups of 16, x = d * (2 * scale + 1) * (y +- 1/8), y of two vectors of eight in a codebook.

byte  0  32   bits 0..7 of every vector's index
byte 32  16   4 bits for every vector, low nibbles first: bits 8..10 of its index, and 1 where an eighth is subtracted
byte 48   8   four times 16 bits, the lowest first: scale of four groups, 3 bits each, and 4 bits of float16 d
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ..blocks.codebook_packing import high_bits, low_bytes, mark_bits, packed_bits, scale_bits
from ..blocks.codebook_parts import indices, shifted_parts
from ..blocks.codebooks import codebook
from ..blocks.parts import IntegerParts, QuantizeParts
from ..format import Format
from ..scale_search.codebook import INDICES, MARKS, Codebook, codebook_blocks
from ..scale_search.nearest_vector import Book
from ..scale_search.search import FLOAT16_D
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


KINDS = (("i16", 4), ("i16", 8), ("i16", 32), ("i64", 4), ("i64", 8))


class IQ1_M(Format, id=29, block=256, nbytes=56):
    needs_importance = True

    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        i16x4, i16x8, i16x32, i64x4, i64x8 = (v.Vec(*kind) for kind in KINDS)
        number = indices(v, (8, 20, 32, 44), 0xF00)

        def prepare(p, out):
            number(v.load(v.i8x32, p), v.widen_unsigned(i64x8, v.load(i16x8, p + 32)), out + INDICES)
            both = v.load(i16x32, out + INDICES)  # an index, and above it whether an eighth is subtracted
            v.store(out + INDICES, both & 0x7FF)
            v.store(out + MARKS, v.splat(v.i8x32, 1) - v.truncate(v.i8x32, both >> 10 & 2))

        def columns(p):
            last = v.load_i64(p + 48)
            half = last >> 12 & 0xF | last >> 24 & 0xF0 | last >> 36 & 0xF00 | last >> 48 & 0xF000
            d = v.to_f32(v.f32x8, v.bitcast(v.f16x8, v.splat(i16x8, half))) * 0.125
            words = v.widen_unsigned(i64x4, v.load(i16x4, p + 48))
            scales = v.bitcast(v.i32x8, words | words >> 6 << 32)  # of two groups in lower bits of each
            return scale(d, scales), scale(d, scales >> 3)

        @v.jitable
        def scale(d, bits):
            number = bits & 7
            return d * v.to_f32(v.f32x8, number + number + 1)

        return shifted_parts(v, 8 * codebook(cls.name), 4, prepare, columns, scales=2)

    @classmethod
    @cache
    def search(cls) -> Codebook:
        """How blocks are quantized: in eighths, so that levels and shifts are whole numbers."""
        return Codebook(Book(8 * codebook(cls.name)), 16, 16, most=7, unit=0.125, signs="none", shifted=8)

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> QuantizeParts:
        low, high, scales, marks, one = low_bytes(v), high_bits(v, 4), scale_bits(v, 3), mark_bits(v, 1, 4), v.int16

        def pack(out, levels, scratch, group):
            low(out, levels, 32)
            for half in range(2):
                top = high(levels, 16 * half, 16) | marks(levels, 16 * half, 16) << 3
                v.store(out + 32 + 8 * half, top)
            d = v.load_u16(scratch + FLOAT16_D + 2 * group)
            for i in range(4):
                part = d >> 4 * i & 15
                v.store(out + 48 + 2 * i, one(scales(scratch, group + 4 * i, 4) | part << 12))

        return QuantizeParts(search=cls.search(), pack=pack)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        last = np.ascontiguousarray(blocks[:, 48:]).view(np.uint16)
        half = np.bitwise_or.reduce(last >> 12 << np.arange(0, 16, 4, dtype=np.uint16), axis=1, keepdims=True)
        scale = (last[..., None] >> np.arange(0, 12, 3, dtype=np.uint16) & 7).reshape(-1, 16)
        factor = half.view(np.float16).astype(np.float32) * (2 * scale + 1).astype(np.float32)
        bits = np.stack([blocks[:, 32:48] & 15, blocks[:, 32:48] >> 4], axis=-1)
        delta = np.where(bits & 8, np.float32(-0.125), np.float32(0.125))
        values = codebook("IQ1_M")[blocks[:, :32].reshape(-1, 16, 2) + (bits & 7) * np.uint16(256)]
        return (factor[..., None, None] * (values + delta[..., None])).reshape(-1, 256)

    @classmethod
    def quantize_blocks(cls, x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        found = codebook_blocks(x, importance, cls.search())
        high = packed_bits((found.indices >> 8 | found.marks << 3).reshape(-1, 2, 16), 4, "u8").reshape(-1, 16)
        d = found.d.astype(np.float16).view(np.uint16)[:, None] >> np.arange(0, 16, 4, dtype=np.uint16) & 15
        last = packed_bits(found.scale.reshape(-1, 4, 4), 3, "u2").view(np.uint16)[..., 0] | d << 12
        return np.concatenate([found.indices.astype(np.uint8), high, last.view(np.uint8)], axis=1)
