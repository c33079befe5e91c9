"""IQ3_XXS: 256 values in 8 groups of 32, x = d * (scale + 1/2) / 2 * y, y of eight vectors of four in a codebook.

byte  0   2   float16 d
byte  2  64   index of every vector
byte 66  32   32 bits for each group, the lowest first: four patterns of signs, each of 7 bits for eight values
              (see `codebooks`), and the scale in the upper 4
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.codebooks import even_signs
from ..blocks.fields import float16_values
from ..blocks.parts import Part
from ..blocks.signed_vectors import SignedVectors
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class IQ3_XXS(SignedVectors, Format, id=18, block=256, nbytes=98, activations="f32"):
    @staticmethod
    def group_decoder(v: InstructionSet, vector: Part, with_signs: Part, with_seven: Part) -> Part:
        def group(p, d, g, out):
            bits = v.load_i32(p + 66 + 4 * g)
            scale = d * (v.float32(0.5) + v.float32(bits >> 28 & 15)) * v.float32(0.5)
            for i in range(4):
                at = p + 2 + 8 * g + 2 * i
                values = vector(v.load_i8(at) & 255, v.load_i8(at + 1) & 255) * scale
                v.store(out + 128 * g + 32 * i, with_seven(values, bits >> 7 * i & 127))

        return group

    @staticmethod
    def unpack(blocks: NDArray[np.uint8]) -> tuple[NDArray[np.integer], NDArray[np.float32], NDArray[np.uint8]]:
        import numpy as np

        bits = np.ascontiguousarray(blocks[:, 66:]).view(np.uint32)
        scale = float16_values(blocks[:, :2]) * (np.float32(0.5) + (bits >> 28).astype(np.float32)) * np.float32(0.5)
        return blocks[:, 2:66], scale, even_signs()[bits[..., None] >> np.arange(0, 28, 7, dtype=np.uint32) & 127]
