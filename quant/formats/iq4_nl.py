"""IQ4_NL: 32 values as x = d * level of q, q in 0..15 (see `levels`).

byte 0   2   half d
byte 2  16   q: low nibbles hold values 0..15, high nibbles values 16..31
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.fields import fields, float16_bytes, float16_values, pack_fields
from ..blocks.lookup_levels import NON_LINEAR
from ..blocks.packing import copy_float16
from ..blocks.parts import IntegerParts, QuantizeParts
from ..format import Format
from ..scale_search.search import FLOAT16_D
from ..scale_search.symmetric import Symmetric, symmetric
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SEARCH = Symmetric(
    group=32,
    groups=1,
    levels=NON_LINEAR,
    min_scale=1,
    max_scale=1,
    trials=((-150.0, 5.0, 12), (95.0, 5.0, 12)),
    floor=0.12,
)


class IQ4_NL(Format, id=20, block=32, nbytes=18):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        nbytes, level = cls.nbytes, v.lookup16(NON_LINEAR)
        flipped = v.lookup16([x ^ -128 if v.FLIP_SIGNED else x for x in NON_LINEAR])

        def unpack(p, stride, tile):
            quads = v.load_rows(v.i32, p + 2, stride)
            for j in range(4):
                v.store(tile + 4 * v.LANES * j, flipped(v.bitcast(v.i8, quads[j] & 0x0F0F0F0F)))
                v.store(tile + 4 * v.LANES * (j + 4), flipped(v.bitcast(v.i8, (quads[j] >> 4) & 0x0F0F0F0F)))
            v.store(tile + 32 * v.LANES, v.load_f16_column(v.f32, p, stride))

        def row(p, g):
            return level(v.nibbles(v.load(v.i8x16, p + 2)))

        def row_scale(p, g):
            return v.load_f16_splat(v.f32x8, p)

        def columns(p):
            return (v.load_f16_column(v.f32x8, p, nbytes),)

        return IntegerParts(bits=8, unpack=unpack, row=row, row_scale=row_scale, columns=columns, signed=True)

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> QuantizeParts:
        copy = copy_float16(v)

        def pack(out, q, scratch, group):
            copy(out, scratch + FLOAT16_D + 2 * group)
            v.store(out + 2, v.load(v.i8x16, q) | v.load(v.i8x16, q + 16) << 4)

        return QuantizeParts(search=SEARCH, pack=pack)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        return float16_values(blocks[:, :2]) * np.array(NON_LINEAR, np.float32)[fields(blocks[:, 2:], 4)]

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        found = symmetric(x, importance, SEARCH)
        return np.concatenate([float16_bytes(found.d[:, None]), pack_fields(found.q, 4)], axis=1)
