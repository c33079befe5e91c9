"""IQ3_S: 256 values in 8 groups of 32, x = d * (2 * scale + 1) * y, y of eight vectors of four in a codebook.

byte   0   2   float16 d
byte   2  64   bits 0..7 of every vector's index
byte  66   8   bit 8 of the indices, the lowest first
byte  74  32   sign bits of every eight values
byte 106   4   scale, 4 bits for each group: low nibbles those of even groups, high nibbles of odd ones
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.fields import float16_values
from ..blocks.parts import Part
from ..blocks.signed_vectors import SignedVectors
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class IQ3_S(SignedVectors, Format, id=21, block=256, nbytes=110, activations="f32"):
    @staticmethod
    def group_decoder(v: InstructionSet, vector: Part, with_signs: Part, with_seven: Part) -> Part:
        def group(p, d, g, out):
            scale = d * v.float32(2 * (v.load_i8(p + 106 + g // 2) >> g % 2 * 4 & 15) + 1)
            high = v.load_i8(p + 66 + g)
            for i in range(4):
                at = p + 2 + 8 * g + 2 * i
                first = v.load_i8(at) & 255 | (high >> 2 * i & 1) << 8
                second = v.load_i8(at + 1) & 255 | (high >> 2 * i + 1 & 1) << 8
                values = vector(first, second) * scale
                v.store(out + 128 * g + 32 * i, with_signs(values, v.load_i8(p + 74 + 4 * g + i)))

        return group

    @staticmethod
    def unpack(blocks: NDArray[np.uint8]) -> tuple[NDArray[np.integer], NDArray[np.float32], NDArray[np.uint8]]:
        import numpy as np

        high = np.unpackbits(blocks[:, 66:74], axis=1, bitorder="little")
        scale = np.stack([blocks[:, 106:] & 15, blocks[:, 106:] >> 4], axis=-1).reshape(-1, 8).astype(np.float32)
        factor = float16_values(blocks[:, :2]) * (1 + 2 * scale)
        return blocks[:, 2:66] + high * np.uint16(256), factor, blocks[:, 74:106]
