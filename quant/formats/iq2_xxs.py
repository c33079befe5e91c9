"""IQ2_XXS: 256 values in 8 groups of 32, x = d * (scale + 1/2) / 4 * y, y of four vectors of eight in a codebook.

byte 0   2   float16 d
byte 2  64   8 bytes for each group: four indices of a vector; then 32 bits, the lowest first:
             four patterns of signs, 7 bits each (see `codebooks`), and the scale in the upper 4
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.codebook_packing import mark_bits, packed_bits, scale_bits, sign_words
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


class IQ2_XXS(SignedVectors, Format, id=16, block=256, nbytes=66):
    needs_importance = True
    unit = 0.125

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
    def pack(v: InstructionSet) -> Part:
        copy, marks, scales, i32 = copy_float16(v), mark_bits(v, 7, 7), scale_bits(v, 4), v.int32

        def pack(out, levels, scratch, group):
            copy(out, scratch + FLOAT16_D + 2 * group)
            for g in range(8):
                numbers = v.load_i64(levels + INDICES + 8 * g)
                numbers |= numbers >> 8
                low = numbers & 0xFFFF | numbers >> 16 & 0xFFFF0000
                scale = scales(scratch, group + g, 1)
                v.store(out + 2 + 8 * g, i32(low))
                v.store(out + 6 + 8 * g, i32(marks(levels, 4 * g, 4) | scale << 28))

        return pack

    @staticmethod
    def unpack(blocks: NDArray[np.uint8]) -> tuple[NDArray[np.integer], NDArray[np.float32], NDArray[np.uint8]]:
        import numpy as np

        groups = blocks[:, 2:].reshape(-1, 8, 8)
        bits = np.ascontiguousarray(groups[..., 4:]).view(np.uint32)
        scale = np.float32(0.5) + (bits[..., 0] >> 28).astype(np.float32)
        patterns = even_signs()[bits >> np.arange(0, 28, 7, dtype=np.uint32) & 127]
        return groups[..., :4], float16_values(blocks[:, :2]) * scale * np.float32(0.25), patterns

    @staticmethod
    def pack_blocks(found: CodebookBlocks) -> NDArray[np.uint8]:
        import numpy as np

        numbers = packed_bits(found.indices.reshape(-1, 8, 4), 8, "u4").view(np.uint32)[..., 0]
        groups = np.stack([numbers, sign_words(found)], axis=2)
        return np.concatenate([float16_bytes(found.d[:, None]), groups.view(np.uint8).reshape(-1, 64)], axis=1)
