"""TQ2_0: 256 values as x = d * (q - 1), q in 0..2.

    byte  0  64   q: the four 2-bit fields of 32 bytes hold 128 values, 32 after 32
    byte 64   2   float16 d

For weights that were trained as -1, 0 and 1; the value of largest magnitude gets 0 or 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.fields import fields, float16_bytes, float16_values, inverse, pack_fields, sign_levels
from ..blocks.parts import IntegerParts, of_group
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TQ2_0(Format, id=35, block=256, nbytes=66):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        vector, size = 4 * v.LANES, 36 * v.LANES  # of a tile's four weights, and of its 32 with their scale

        def unpack(p, stride, tile):
            d = v.load_f16_column(v.f32, p + 64, stride)
            for part in range(2):
                for half in range(2):
                    quads = v.load_rows(v.i32, p + 32 * part + 16 * half, stride)
                    at = tile + 4 * size * part + 4 * vector * half
                    for i in range(4):
                        for j in range(4):
                            v.store(at + size * i + vector * j, quads[j] >> 2 * i & 0x03030303)
            for g in range(8):
                v.store(tile + size * g + 8 * vector, d)

        def row(p, g):
            return v.shift_bytes(v.load(v.i8x32, p + 32 * (g // 4)), 2 * (g % 4)) & 3

        def columns(p):
            return (v.load_f16_splat(v.f32x8, p + 64),)

        scale = of_group(v, columns)
        return IntegerParts(bits=4, unpack=unpack, row=row, row_scale=scale, columns=columns, shift=0)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        q = fields(blocks[:, :64].reshape(-1, 2, 32), 2).reshape(-1, 256)
        return float16_values(blocks[:, 64:]) * (q.astype(np.float32) - 1)

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        d = np.abs(x).max(axis=1, keepdims=True)
        q = sign_levels(x * inverse(d)).reshape(-1, 2, 128)
        return np.concatenate([pack_fields(q, 2).reshape(-1, 64), float16_bytes(d)], axis=1)
