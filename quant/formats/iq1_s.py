"""IQ1_S: 256 values in 8 groups of 32, x = d * (2 * scale + 1) * (y +- 1/8), y of four vectors of eight in a codebook.

byte  0   2   float16 d
byte  2  32   bits 0..7 of every vector's index
byte 34  16   16 bits for each group, the lowest first: bits 8..10 of its four indices, 3 bits of scale, and 1 where
              an eighth is subtracted
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.codebook_parts import INDICES, MARKS, indices, shifted_parts
from ..blocks.codebooks import codebook
from ..blocks.fields import float16_values
from ..blocks.parts import IntegerParts
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class IQ1_S(Format, id=19, block=256, nbytes=50):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        i16x8, i64x8 = v.Vec("i16", 8), v.Vec("i64", 8)
        number = indices(v, (8, 21, 34, 47), 0x700)

        def prepare(p, out):
            bits = v.load(i16x8, p + 34)
            number(v.load(v.i8x32, p + 2), v.widen_unsigned(i64x8, bits), out + INDICES)
            v.store(
                out + MARKS,
                v.splat(v.i8x32, 1) - v.bitcast(v.i8x32, v.widen_unsigned(v.i32x8, bits >> 15) * 0x02020202),
            )

        def columns(p):
            scale = v.widen_unsigned(v.i32x8, v.load(i16x8, p + 34) >> 12 & 7)
            return (v.load_f16_splat(v.f32x8, p) * 0.125 * v.to_f32(v.f32x8, scale + scale + 1),)

        return shifted_parts(v, 8 * codebook(cls.name), 4, prepare, columns, scales=1)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        bits = np.ascontiguousarray(blocks[:, 34:]).view(np.uint16)
        scale = float16_values(blocks[:, :2]) * (2 * (bits >> 12 & 7) + 1).astype(np.float32)
        delta = np.where(bits >> 15, np.float32(-0.125), np.float32(0.125))
        index = blocks[:, 2:34].reshape(-1, 8, 4) + (bits[..., None] >> np.arange(0, 12, 3, dtype=np.uint16) & 7) * 256
        values = codebook("IQ1_S")[index] + delta[..., None, None]
        return (scale[..., None, None] * values).reshape(-1, 256)
