"""Q2_0: 64 values as x = d * (q - 1), q in 0..3.

    byte 0   2   float16 d
    byte 2  16   q: 2 bits for every value, the lowest first

For weights that were trained as -1, 0 and 1; the value of largest magnitude gets 0 or 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.fields import float16_bytes, float16_values, inverse, sign_levels
from ..blocks.parts import IntegerParts, TileParts
from ..blocks.two_bits import LEVELS, eight_vectors, turn_words, turned
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHIFTS = (0, 2, 4, 6)


class Q2_0(Format, id=42, block=64, nbytes=18, short_units={0: 2}):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        vector, size, i8x8 = 4 * v.LANES, 36 * v.LANES, v.Vec("i8", 8)
        f32x2 = v.Vec("f32", 2)
        scale = v.jitable(lambda p: v.load_f16_splat(f32x2, p))
        # Each byte of a word holds four levels; byte i spread over a word is a vector of four weights.
        spread = v.jitable(lambda bits: (bits | bits << 6 | bits << 12 | bits << 18) & LEVELS)
        turn, words = turned(v), eight_vectors(v)
        store = v.unroll_map(8, lambda j, tile, found: v.store(tile + vector * j, found[j]))

        def unpack(p, stride, tile):
            d, quads = v.load_f16_column(v.f32, p, stride), v.load_rows(v.i32, p + 2, stride)
            for g in range(2):
                store(tile + size * g, words(turn(quads[2 * g]), turn(quads[2 * g + 1])))
                v.store(tile + size * g + 8 * vector, d)

        def row(p, g):
            return v.bitcast(v.i8x32, spread(v.widen_unsigned(v.i32x8, v.load(i8x8, p + 2 + 8 * g))))

        def tile_weights(p, stride, n, i):
            at = p + 2 + 8 * i
            return words(v.load_column(v.i32, at, stride), v.load_column(v.i32, at + 4, stride))

        def tile_scales(p, stride, tile):
            d = v.load_f16_column(v.f32, p, stride)
            v.store(tile + 8 * vector, d)
            v.store(tile + size + 8 * vector, d)

        def rearrange(p, stride, at):
            quads = v.load_rows(v.i32, p + 2, stride)
            v.store(at, v.load_column(v.i16, p, stride))
            for j in range(4):
                v.store(at + v.LANES * (2 + 4 * j), turn(quads[j]))

        def columns(p):
            a, b, c, d = scale(p), scale(p + 18), scale(p + 36), scale(p + 54)
            return (v.join(v.join(a, b), v.join(c, d)),)

        return IntegerParts(
            bits=4, unpack=unpack, row=row, row_scale=lambda p, g: v.load_f16_splat(v.f32x8, p), columns=columns,
            shift=0, tile=TileParts(tile_weights, tile_scales, unit=2, rearrange=rearrange),
        )  # fmt: skip

    @staticmethod
    def rearrange_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
        import numpy as np

        words = np.ascontiguousarray(blocks[:, 2:]).view(np.uint32)
        return np.concatenate([blocks[:, :2], turn_words(words).view(np.uint8)], axis=1)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        q = blocks[:, 2:, None] >> np.array(SHIFTS, np.uint8) & np.uint8(3)
        values: NDArray[np.float32] = float16_values(blocks[:, :2]) * (q.reshape(-1, 64).astype(np.float32) - 1)
        return values

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        d = np.abs(x).max(axis=1, keepdims=True)
        q = sign_levels(x * inverse(d)).reshape(-1, 16, 4) << np.array(SHIFTS, np.uint8)
        return np.concatenate([float16_bytes(d), np.bitwise_or.reduce(q, axis=2)], axis=1)
