"""IQ2_XXS: 256 values in 8 groups of 32, x = d * (scale + 1/2) / 4 * y, y of four vectors of eight in a codebook.

byte 0   2   float16 d
byte 2  64   8 bytes for each group: four indices of a vector; then 32 bits, the lowest first:
             four patterns of signs, 7 bits each (see `codebooks`), and the scale in the upper 4
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


class IQ2_XXS(SignedVectors, Format, id=16, block=256, nbytes=66, activations="f32"):
    @staticmethod
    def group_decoder(v: InstructionSet, vector: Part, with_signs: Part, with_seven: Part) -> Part:
        def group(p, d, g, out):
            at, bits = p + 2 + 8 * g, v.load_i32(p + 6 + 8 * g)
            scale = d * (v.float32(0.5) + v.float32(bits >> 28 & 15)) * v.float32(0.25)
            for i in range(4):
                values = vector(v.load_i8(at + i) & 255) * scale
                v.store(out + 128 * g + 32 * i, with_seven(values, bits >> 7 * i & 127))

        return group

    @staticmethod
    def unpack(blocks: NDArray[np.uint8]) -> tuple[NDArray[np.integer], NDArray[np.float32], NDArray[np.uint8]]:
        import numpy as np

        groups = blocks[:, 2:].reshape(-1, 8, 8)
        bits = np.ascontiguousarray(groups[..., 4:]).view(np.uint32)
        scale = np.float32(0.5) + (bits[..., 0] >> 28).astype(np.float32)
        patterns = even_signs()[bits >> np.arange(0, 28, 7, dtype=np.uint32) & 127]
        return groups[..., :4], float16_values(blocks[:, :2]) * scale * np.float32(0.25), patterns
