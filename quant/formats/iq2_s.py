"""IQ2_S: 256 values in 16 groups of 16, x = d * (scale + 1/2) / 4 * y, y of two vectors of eight in a codebook.

byte  0   2   float16 d
byte  2  32   bits 0..7 of every vector's index
byte 34  32   sign bits of every vector
byte 66   8   bits 8..9 of the indices, the lowest field first
byte 74   8   scale, 4 bits for each group: low nibbles those of even groups, high nibbles of odd ones
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.codebook_packing import copy_marks, high_bits, low_bytes, packed_bits, scale_bits
from ..blocks.codebook_parts import indices, nibble_columns
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


class IQ2_S(SignedVectors, Format, id=22, block=256, nbytes=82):
    needs_importance = True
    groups = 16
    unit, signs = 0.125, "any"

    @staticmethod
    def fields(v: InstructionSet) -> tuple[Part, Part]:
        number, i8x8, i64x8 = indices(v, (8, 22, 36, 50), 0x300), v.Vec("i8", 8), v.Vec("i64", 8)

        def prepare(p, out):
            number(v.load(v.i8x32, p + 2), v.widen_unsigned(i64x8, v.load(i8x8, p + 66)), out + INDICES)
            v.store(out + MARKS, v.load(v.i8x32, p + 34))

        return prepare, nibble_columns(v, 74, 0.25)

    @staticmethod
    def pack(v: InstructionSet) -> Part:
        copy, low, marks, high, scales = copy_float16(v), low_bytes(v), copy_marks(v), high_bits(v, 2), scale_bits(v, 4)

        def pack(out, levels, scratch, group):
            copy(out, scratch + FLOAT16_D + 2 * group)
            low(out + 2, levels, 32)
            marks(out + 34, levels)
            v.store(out + 66, high(levels, 0, 32))
            v.store(out + 74, scales(scratch, group, 16))

        return pack

    @staticmethod
    def unpack(blocks: NDArray[np.uint8]) -> tuple[NDArray[np.integer], NDArray[np.float32], NDArray[np.uint8]]:
        import numpy as np

        high = (blocks[:, 66:74, None] >> np.arange(0, 8, 2, dtype=np.uint8) & 3).reshape(-1, 32)
        scale = np.stack([blocks[:, 74:] & 15, blocks[:, 74:] >> 4], axis=-1).reshape(-1, 16).astype(np.float32)
        factor = float16_values(blocks[:, :2]) * (np.float32(0.5) + scale) * np.float32(0.25)
        return blocks[:, 2:34] + high * np.uint16(256), factor, blocks[:, 34:66]

    @staticmethod
    def pack_blocks(found: CodebookBlocks) -> NDArray[np.uint8]:
        import numpy as np

        low, high = found.indices.astype(np.uint8), packed_bits(found.indices >> 8, 2, "u8")
        parts = [float16_bytes(found.d[:, None]), low, found.marks, high, packed_bits(found.scale, 4, "u8")]
        return np.concatenate(parts, axis=1)
