"""Q1_0: 128 values, each d or -d.

byte 0   2   float16 d
byte 2  16   a bit for every value, the lowest first: 1 for d
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.fields import float16_values
from ..blocks.parts import IntegerParts
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Q1_0(Format, id=41, block=128, nbytes=18):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        vector, size = 4 * v.LANES, 36 * v.LANES  # of a tile's four weights, and of its 32 with their scale
        f32x4 = v.Vec("f32", 4)

        def unpack(p, stride, tile):
            d, words = v.load_f16_column(v.f32, p, stride), v.load_rows(v.i32, p + 2, stride)
            for g in range(4):
                for j in range(8):
                    v.store(tile + size * g + vector * j, v.spread_4_bits(words[g] >> 4 * j) << 1)
                v.store(tile + size * g + 8 * vector, d)

        def row(p, g):
            return v.load_spread_bits(v.i8x32, p + 2 + 4 * g) & 2

        def row_scale(p, g):
            return v.load_f16_splat(v.f32x8, p)

        def columns(p):
            return (v.join(v.load_f16_splat(f32x4, p), v.load_f16_splat(f32x4, p + 18)),)

        return IntegerParts(bits=4, unpack=unpack, row=row, row_scale=row_scale, columns=columns, shift=0)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        d, bits = float16_values(blocks[:, :2]), np.unpackbits(blocks[:, 2:], axis=1, bitorder="little")
        return np.where(bits, d, -d)
