"""IQ1_S: 256 values in 8 groups of 32, x = d * (2 * scale + 1) * (y +- 1/8), y of four vectors of eight in a codebook.

byte  0   2   float16 d
byte  2  32   bits 0..7 of every vector's index
byte 34  16   16 bits for each group, the lowest first: bits 8..10 of its four indices, 3 bits of scale, and 1 where
              an eighth is subtracted
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.codebooks import codebook, vectors
from ..blocks.fields import float16_values
from ..blocks.parts import DecodedParts
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class IQ1_S(Format, id=19, block=256, nbytes=50, activations="f32"):
    @classmethod
    def kernels(cls, v: InstructionSet) -> DecodedParts:
        vector = vectors(v, cls.name)

        def decode(p, out):
            d = v.load_f16(p)
            for g in range(8):
                bits = v.load_u16(p + 34 + 2 * g)
                scale = d * v.float32(2 * (bits >> 12 & 7) + 1)
                delta = v.float32(-0.125) if bits >> 15 else v.float32(0.125)
                for i in range(4):
                    index = v.load_i8(p + 2 + 4 * g + i) & 255 | (bits >> 3 * i & 7) << 8
                    v.store(out + 128 * g + 32 * i, (vector(index) + delta) * scale)

        return DecodedParts(decode)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        bits = np.ascontiguousarray(blocks[:, 34:]).view(np.uint16)
        scale = float16_values(blocks[:, :2]) * (2 * (bits >> 12 & 7) + 1).astype(np.float32)
        delta = np.where(bits >> 15, np.float32(-0.125), np.float32(0.125))
        index = blocks[:, 2:34].reshape(-1, 8, 4) + (bits[..., None] >> np.arange(0, 12, 3, dtype=np.uint16) & 7) * 256
        values = codebook("IQ1_S")[index] + delta[..., None, None]
        return (scale[..., None, None] * values).reshape(-1, 256)
