"""IQ2_XXS: 256 values in 8 groups of 32, x = d * (scale + 1/2) / 4 * y, y of four vectors of eight in a codebook.

byte 0   2   float16 d
byte 2  64   8 bytes for each group: four indices of a vector; then 32 bits, the lowest first:
             four patterns of signs, 7 bits each (see `codebooks`), and the scale in the upper 4
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.codebooks import apply_signs, codebook, even_signs, signs, vectors
from ..blocks.fields import float16_values
from ..blocks.parts import DecodedParts
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class IQ2_XXS(Format, id=16, block=256, nbytes=66, activations="f32"):
    @classmethod
    def kernels(cls, v: InstructionSet) -> DecodedParts:
        vector, with_signs = vectors(v, cls.name), apply_signs(v)[1]

        def decode(p, out):
            d = v.load_f16(p)
            for g in range(8):
                at, bits = p + 2 + 8 * g, v.load_i32(p + 6 + 8 * g)
                scale = d * (v.float32(0.5) + v.float32(bits >> 28 & 15)) * v.float32(0.25)
                for i in range(4):
                    values = vector(v.load_i8(at + i) & 255) * scale
                    v.store(out + 128 * g + 32 * i, with_signs(values, bits >> 7 * i & 127))

        return DecodedParts(decode)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        groups = blocks[:, 2:].reshape(-1, 8, 8)
        bits = np.ascontiguousarray(groups[..., 4:]).view(np.uint32)
        scale = (
            float16_values(blocks[:, :2])
            * (np.float32(0.5) + (bits[..., 0] >> 28).astype(np.float32))
            * np.float32(0.25)
        )
        patterns = even_signs()[bits >> np.arange(0, 28, 7, dtype=np.uint32) & 127]
        values = codebook("IQ2_XXS")[groups[..., :4]] * scale[..., None, None]
        return (values * signs(patterns)).reshape(-1, 256)
