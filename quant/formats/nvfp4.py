"""NVFP4: 64 values in 4 groups of 16, x = scale / 2 * level of q (see `lookup_levels`: twice an E2M1 float).

    byte 0   4   scale of every group, an unsigned E4M3 float: 4 bits of exponent, 3 of mantissa
    byte 4  32   q, 8 bytes for each group: low nibbles hold values 0..7, high nibbles values 8..15

As in ggml, the top bit of a scale is ignored, and its NaN, 127, is 0. The file's tensor-wide factor is a tensor beside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.lookup_levels import E2M1
from ..blocks.parts import IntegerParts
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class NVFP4(Format, id=40, block=64, nbytes=36):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        vector, size = 4 * v.LANES, 40 * v.LANES  # of a tile's four weights, and of its 32 with their two scales
        nbytes, level = cls.nbytes, v.lookup16([x + 16 for x in E2M1])
        i8x8, f32x4, i64x4 = v.Vec("i8", 8), v.Vec("f32", 4), v.Vec("i64", 4)

        @v.jitable
        def scale(kind, e4m3):
            """Half the scale in the lowest byte of every int32: as bits of a float32, its exponent is 120 too low."""
            value = v.bitcast(kind, (e4m3 & 0x7F) << 20 | (e4m3 & 0x80) << 24) * 2.0**119
            return v.absolute(v.select_gt(value, v.splat(kind, 239), v.zero(kind), value))  # 127 is 0, 255 is not

        @v.jitable
        def four(words, at):
            """Groups of eight bytes: their low nibbles are eight weights, then their high ones."""
            for j in range(2):
                v.store(at + vector * j, level(v.bitcast(v.i8, words[j] & 0x0F0F0F0F)))
                v.store(at + vector * (2 + j), level(v.bitcast(v.i8, words[j] >> 4 & 0x0F0F0F0F)))
                v.store(at + vector * (4 + j), level(v.bitcast(v.i8, words[2 + j] & 0x0F0F0F0F)))
                v.store(at + vector * (6 + j), level(v.bitcast(v.i8, words[2 + j] >> 4 & 0x0F0F0F0F)))

        def unpack(p, stride, tile):
            scales = v.load_column(v.i32, p, stride)
            for g in range(2):
                four(v.load_rows(v.i32, p + 4 + 16 * g, stride), tile + size * g)
                for half in range(2):
                    v.store(tile + size * g + vector * (8 + half), scale(v.f32, scales >> 16 * g + 8 * half))

        def row(p, g):
            at = p + 4 + 16 * g
            return level(v.join(v.nibbles(v.load(i8x8, at)), v.nibbles(v.load(i8x8, at + 8))))

        def row_scale(p, g):
            low, high = v.splat(v.i32x4, v.load_i8(p + 2 * g)), v.splat(v.i32x4, v.load_i8(p + 2 * g + 1))
            return v.join(scale(f32x4, low), scale(f32x4, high))

        def columns(p):
            words = v.widen_unsigned(i64x4, v.load_column(v.i32x4, p, nbytes))
            pairs = v.bitcast(v.i32x8, words | words >> 16 << 32)  # two scales in the lower bits of each
            return scale(v.f32x8, pairs), scale(v.f32x8, pairs >> 8)

        return IntegerParts(bits=5, unpack=unpack, row=row, row_scale=row_scale, columns=columns, shift=4, scales=2)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        q = blocks[:, 4:].reshape(-1, 4, 8)
        level = np.array(E2M1, np.float32)[np.concatenate([q & 15, q >> 4], axis=-1)]
        values: NDArray[np.float32] = _scales()[blocks[:, :4]][..., None] * level
        return values.reshape(-1, 64)


def _scales() -> NDArray[np.float32]:
    """Half the value of each of the 256 scales."""
    import numpy as np

    byte = np.arange(256)
    exponent, mantissa = byte >> 3 & 15, byte & 7
    normal, subnormal = np.ldexp(8 + mantissa, exponent - 11), np.ldexp(mantissa, -10)
    return np.where(byte == 127, 0, np.where(exponent > 0, normal, subnormal)).astype(np.float32)
