"""IQ3_S: 256 values in 8 groups of 32, x = d * (2 * scale + 1) * y, y of eight vectors of four in a codebook.

byte   0   2   float16 d
byte   2  64   bits 0..7 of every vector's index
byte  66   8   bit 8 of the indices, the lowest first
byte  74  32   sign bits of every eight values
byte 106   4   scale, 4 bits for each group: low nibbles those of even groups, high nibbles of odd ones
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.codebook_packing import copy_marks, high_bits, low_bytes, packed_bits, scale_bits
from ..blocks.fields import float16_bytes, float16_values
from ..blocks.packing import copy_float16
from ..blocks.parts import Part
from ..blocks.signed_vectors import SignedVectors
from ..format import Format
from ..scale_search.codebook import INDICES, MARKS, CodebookBlocks
from ..scale_search.search import FLOAT16_D
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class IQ3_S(SignedVectors, Format, id=21, block=256, nbytes=110):
    bits = 4
    unit, signs = 1.0, "any"

    @staticmethod
    def fields(v: InstructionSet) -> tuple[Part, Part]:
        i16x32 = v.Vec("i16", 32)

        def prepare(p, out):
            for half in range(2):
                low = v.widen_unsigned(i16x32, v.load(v.i8x32, p + 2 + 32 * half))
                high = v.widen_unsigned(i16x32, v.load_spread_bits(v.i8x32, p + 66 + 4 * half) & 1)
                v.store(out + INDICES + 64 * half, low | high << 8)
            v.store(out + MARKS, v.load(v.i8x32, p + 74))

        def columns(p):
            scale = v.load_splat(v.i32x8, p + 106) >> v.iota(v.i32x8, 4) & 15
            return (v.load_f16_splat(v.f32x8, p) * v.to_f32(v.f32x8, scale + scale + 1),)

        return prepare, columns

    @staticmethod
    def pack(v: InstructionSet) -> Part:
        copy, low, marks, high, scales, i32 = (
            copy_float16(v),
            low_bytes(v),
            copy_marks(v),
            high_bits(v, 1),
            scale_bits(v, 4),
            v.int32,
        )

        def pack(out, levels, scratch, group):
            copy(out, scratch + FLOAT16_D + 2 * group)
            low(out + 2, levels, 64)
            v.store(out + 66, high(levels, 0, 64))
            marks(out + 74, levels)
            v.store(out + 106, i32(scales(scratch, group, 8)))

        return pack

    @staticmethod
    def unpack(blocks: NDArray[np.uint8]) -> tuple[NDArray[np.integer], NDArray[np.float32], NDArray[np.uint8]]:
        import numpy as np

        high = np.unpackbits(blocks[:, 66:74], axis=1, bitorder="little")
        scale = np.stack([blocks[:, 106:] & 15, blocks[:, 106:] >> 4], axis=-1).reshape(-1, 8).astype(np.float32)
        factor = float16_values(blocks[:, :2]) * (1 + 2 * scale)
        return blocks[:, 2:66] + high * np.uint16(256), factor, blocks[:, 74:106]

    @staticmethod
    def pack_blocks(found: CodebookBlocks) -> NDArray[np.uint8]:
        import numpy as np

        low, high = found.indices.astype(np.uint8), packed_bits(found.indices >> 8, 1, "u8")
        parts = [float16_bytes(found.d[:, None]), low, high, found.marks, packed_bits(found.scale, 4, "u4")]
        return np.concatenate(parts, axis=1)
