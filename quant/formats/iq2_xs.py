"""IQ2_XS: 256 values in 16 groups of 16, x = d * (scale + 1/2) / 4 * y, y of two vectors of eight in a codebook.

byte  0   2   float16 d
byte  2  64   16 bits for every eight values: index of a vector in the lower 9, pattern of signs in the upper 7
              (see `codebooks`)
byte 66   8   scale, 4 bits for each group: low nibbles those of even groups, high nibbles of odd ones
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.codebook_packing import packed_bits, scale_bits
from ..blocks.codebook_parts import even_signs_of, nibble_columns
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


class IQ2_XS(SignedVectors, Format, id=17, block=256, nbytes=74):
    needs_importance = True
    groups = 16
    unit = 0.125

    @staticmethod
    def fields(v: InstructionSet) -> tuple[Part, Part]:
        with_eighth, i16x32 = even_signs_of(v)[0], v.Vec("i16", 32)

        def prepare(p, out):
            bits = v.load(i16x32, p + 2)
            v.store(out + INDICES, bits & 511)
            v.store(out + MARKS, with_eighth(v.bitcast(v.i32x8, v.truncate(v.i8x32, bits >> 9))))

        return prepare, nibble_columns(v, 66, 0.25)

    @staticmethod
    def pack(v: InstructionSet) -> Part:
        copy, scales, i16x32 = copy_float16(v), scale_bits(v, 4), v.Vec("i16", 32)

        def pack(out, levels, scratch, group):
            copy(out, scratch + FLOAT16_D + 2 * group)
            patterns = v.widen_unsigned(i16x32, v.load(v.i8x32, levels + MARKS)) << 9
            v.store(out + 2, v.load(i16x32, levels + INDICES) | patterns)
            v.store(out + 66, scales(scratch, group, 16))

        return pack

    @staticmethod
    def unpack(blocks: NDArray[np.uint8]) -> tuple[NDArray[np.integer], NDArray[np.float32], NDArray[np.uint8]]:
        import numpy as np

        bits = np.ascontiguousarray(blocks[:, 2:66]).view(np.uint16)
        scale = np.stack([blocks[:, 66:] & 15, blocks[:, 66:] >> 4], axis=-1).reshape(-1, 16).astype(np.float32)
        factor = float16_values(blocks[:, :2]) * (np.float32(0.5) + scale) * np.float32(0.25)
        return bits & 511, factor, even_signs()[bits >> 9]

    @staticmethod
    def pack_blocks(found: CodebookBlocks) -> NDArray[np.uint8]:
        import numpy as np

        bits = found.indices | found.marks.astype(np.uint16) << 9
        parts = [float16_bytes(found.d[:, None]), bits.view(np.uint8), packed_bits(found.scale, 4, "u8")]
        return np.concatenate(parts, axis=1)
