"""IQ3_XXS: 256 values in 8 groups of 32, x = d * (scale + 1/2) / 2 * y, y of eight vectors of four in a codebook.

byte  0   2   float16 d
byte  2  64   index of every vector
byte 66  32   32 bits for each group, the lowest first: four patterns of signs, each of 7 bits for eight values
              (see `codebooks`), and the scale in the upper 4
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


class IQ3_XXS(Format, id=18, block=256, nbytes=98, activations="f32"):
    @classmethod
    def kernels(cls, v: InstructionSet) -> DecodedParts:
        vector, with_signs = vectors(v, cls.name), apply_signs(v)[1]

        def decode(p, out):
            d = v.load_f16(p)
            for g in range(8):
                bits = v.load_i32(p + 66 + 4 * g)
                scale = d * (v.float32(0.5) + v.float32(bits >> 28 & 15)) * v.float32(0.5)
                for i in range(4):
                    at = p + 2 + 8 * g + 2 * i
                    values = vector(v.load_i8(at) & 255, v.load_i8(at + 1) & 255) * scale
                    v.store(out + 128 * g + 32 * i, with_signs(values, bits >> 7 * i & 127))

        return DecodedParts(decode)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        bits = np.ascontiguousarray(blocks[:, 66:]).view(np.uint32)
        scale = float16_values(blocks[:, :2]) * (np.float32(0.5) + (bits >> 28).astype(np.float32)) * np.float32(0.5)
        patterns = even_signs()[bits[..., None] >> np.arange(0, 28, 7, dtype=np.uint32) & 127]
        values = codebook("IQ3_XXS")[blocks[:, 2:66]].reshape(-1, 8, 4, 8) * scale[..., None, None]
        return (values * signs(patterns)).reshape(-1, 256)
