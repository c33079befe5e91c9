"""IQ2_S: 256 values in 16 groups of 16, x = d * (scale + 1/2) / 4 * y, y of two vectors of eight in a codebook.

byte  0   2   float16 d
byte  2  32   bits 0..7 of every vector's index
byte 34  32   sign bits of every vector
byte 66   8   bits 8..9 of the indices, the lowest field first
byte 74   8   scale, 4 bits for each group: low nibbles those of even groups, high nibbles of odd ones
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.codebook_parts import INDICES, MARKS, indices, nibble_columns
from ..blocks.fields import float16_values
from ..blocks.parts import Part
from ..blocks.signed_vectors import SignedVectors
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class IQ2_S(SignedVectors, Format, id=22, block=256, nbytes=82):
    groups = 16

    @staticmethod
    def fields(v: InstructionSet) -> tuple[Part, Part]:
        number, i8x8, i64x8 = indices(v, (8, 22, 36, 50), 0x300), v.Vec("i8", 8), v.Vec("i64", 8)

        def prepare(p, out):
            number(v.load(v.i8x32, p + 2), v.widen_unsigned(i64x8, v.load(i8x8, p + 66)), out + INDICES)
            v.store(out + MARKS, v.load(v.i8x32, p + 34))

        return prepare, nibble_columns(v, 74, 0.25)

    @staticmethod
    def unpack(blocks: NDArray[np.uint8]) -> tuple[NDArray[np.integer], NDArray[np.float32], NDArray[np.uint8]]:
        import numpy as np

        high = (blocks[:, 66:74, None] >> np.arange(0, 8, 2, dtype=np.uint8) & 3).reshape(-1, 32)
        scale = np.stack([blocks[:, 74:] & 15, blocks[:, 74:] >> 4], axis=-1).reshape(-1, 16).astype(np.float32)
        factor = float16_values(blocks[:, :2]) * (np.float32(0.5) + scale) * np.float32(0.25)
        return blocks[:, 2:34] + high * np.uint16(256), factor, blocks[:, 34:66]
