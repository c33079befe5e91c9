"""IQ3_XXS: 256 values in 8 groups of 32, x = d * (scale + 1/2) / 2 * y, y of eight vectors of four in a codebook.

byte  0   2   float16 d
byte  2  64   index of every vector
byte 66  32   32 bits for each group, the lowest first: four patterns of signs, each of 7 bits for eight values
              (see `codebooks`), and the scale in the upper 4
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.codebook_packing import low_bytes, mark_bits, scale_bits, sign_words
from ..blocks.codebook_parts import even_signs_of
from ..blocks.codebooks import even_signs
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


class IQ3_XXS(SignedVectors, Format, id=18, block=256, nbytes=98):
    needs_importance = True
    unit = 0.25

    @staticmethod
    def fields(v: InstructionSet) -> tuple[Part, Part]:
        _, signs_of, i16x32 = *even_signs_of(v), v.Vec("i16", 32)

        def prepare(p, out):
            for half in range(2):
                v.store(out + INDICES + 64 * half, v.widen_unsigned(i16x32, v.load(v.i8x32, p + 2 + 32 * half)))
            v.store(out + MARKS, signs_of(v.load(v.i32x8, p + 66)))

        def columns(p):
            scale = v.to_f32(v.f32x8, v.load(v.i32x8, p + 66) >> 28)
            return (v.load_f16_splat(v.f32x8, p) * 0.5 * (scale + 0.5),)

        return prepare, columns

    @staticmethod
    def pack(v: InstructionSet) -> Part:
        copy, low, marks, scales, i32 = copy_float16(v), low_bytes(v), mark_bits(v, 7, 7), scale_bits(v, 4), v.int32

        def pack(out, levels, scratch, group):
            copy(out, scratch + FLOAT16_D + 2 * group)
            low(out + 2, levels, 64)
            for g in range(8):
                scale = scales(scratch, group + g, 1)
                v.store(out + 66 + 4 * g, i32(marks(levels, 4 * g, 4) | scale << 28))

        return pack

    @staticmethod
    def unpack(blocks: NDArray[np.uint8]) -> tuple[NDArray[np.integer], NDArray[np.float32], NDArray[np.uint8]]:
        import numpy as np

        bits = np.ascontiguousarray(blocks[:, 66:]).view(np.uint32)
        scale = float16_values(blocks[:, :2]) * (np.float32(0.5) + (bits >> 28).astype(np.float32)) * np.float32(0.5)
        return blocks[:, 2:66], scale, even_signs()[bits[..., None] >> np.arange(0, 28, 7, dtype=np.uint32) & 127]

    @staticmethod
    def pack_blocks(found: CodebookBlocks) -> NDArray[np.uint8]:
        import numpy as np

        d, low = float16_bytes(found.d[:, None]), found.indices.astype(np.uint8)
        return np.concatenate([d, low, sign_words(found).view(np.uint8)], axis=1)
