"""IQ2_XXS: 256 values in 8 groups of 32, x = d * (scale + 1/2) / 4 * y, y of four vectors of eight in a codebook.

byte 0   2   float16 d
byte 2  64   8 bytes for each group: four indices of a vector; then 32 bits, the lowest first:
             four patterns of signs, 7 bits each (see `codebooks`), and the scale in the upper 4
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.codebook_parts import INDICES, MARKS, even_signs_of
from ..blocks.codebooks import even_signs
from ..blocks.fields import float16_values
from ..blocks.parts import Part
from ..blocks.signed_vectors import SignedVectors
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class IQ2_XXS(SignedVectors, Format, id=16, block=256, nbytes=66):
    @staticmethod
    def fields(v: InstructionSet) -> tuple[Part, Part]:
        _, signs_of, i64x8, i16x32 = *even_signs_of(v), v.Vec("i64", 8), v.Vec("i16", 32)

        def prepare(p, out):
            groups = v.load(i64x8, p + 2)
            numbers = v.bitcast(v.i8x32, v.truncate(v.i32x8, groups))
            v.store(out + INDICES, v.widen_unsigned(i16x32, numbers))
            v.store(out + MARKS, signs_of(v.truncate(v.i32x8, groups >> 32)))

        def columns(p):
            scale = v.to_f32(v.f32x8, v.truncate(v.i32x8, v.load(i64x8, p + 2) >> 60))
            return (v.load_f16_splat(v.f32x8, p) * 0.25 * (scale + 0.5),)

        return prepare, columns

    @staticmethod
    def unpack(blocks: NDArray[np.uint8]) -> tuple[NDArray[np.integer], NDArray[np.float32], NDArray[np.uint8]]:
        import numpy as np

        groups = blocks[:, 2:].reshape(-1, 8, 8)
        bits = np.ascontiguousarray(groups[..., 4:]).view(np.uint32)
        scale = np.float32(0.5) + (bits[..., 0] >> 28).astype(np.float32)
        patterns = even_signs()[bits >> np.arange(0, 28, 7, dtype=np.uint32) & 127]
        return groups[..., :4], float16_values(blocks[:, :2]) * scale * np.float32(0.25), patterns
