"""IQ4_XS: 256 values in 8 groups of 32, x = d * (scale - 32) * level of q, q in 0..15 (see `levels`), scale in 0..63.

byte 0    2   half d
byte 2    2   bits 4..5 of scale: the lowest 2-bit field belongs to group 0
byte 4    4   bits 0..3 of scale, likewise
byte 8  128   q: low nibbles of 16 bytes hold the first half of a group, high nibbles the second half
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from ..blocks import decode, fields, halves
from ..format import Format
from ..levels import NON_LINEAR
from ..parts import IntegerParts, of_group

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class IQ4_XS(Format, id=23, block=256, nbytes=136):
    @classmethod
    def dequantize(cls, data: NDArray[np.uint8]) -> NDArray[np.float32]:
        return decode(cls, _decode, data)

    @classmethod
    def kernels(cls, v: ModuleType) -> IntegerParts:
        vector, size = 4 * v.LANES, 36 * v.LANES  # of a tile's four weights, and of its 32 with their scale
        level, flipped = v.lookup16(NON_LINEAR), v.lookup16([x ^ -128 if v.FLIP_SIGNED else x for x in NON_LINEAR])

        def unpack(p, stride, tile):  # type: ignore[no-untyped-def]
            d, top = v.load_f16_column(v.f32, p, stride), v.load_column(v.i32, p, stride) >> 16
            low = v.load_column(v.i32, p + 4, stride)
            for g in range(8):
                quads, at = v.load_rows(v.i32, p + 8 + 16 * g, stride), tile + size * g
                for j in range(4):
                    v.store(at + vector * j, flipped(v.bitcast(v.i8, quads[j] & 0x0F0F0F0F)))
                    v.store(at + vector * (j + 4), flipped(v.bitcast(v.i8, quads[j] >> 4 & 0x0F0F0F0F)))
                scale = (low >> 4 * g & 15 | (top >> 2 * g & 3) << 4) - 32
                v.store(at + 8 * vector, d * v.to_f32(v.f32, scale))

        def row(p, g):  # type: ignore[no-untyped-def]
            return level(v.nibbles(v.load(v.i8x16, p + 8 + 16 * g)))

        def columns(p):  # type: ignore[no-untyped-def]
            low = v.load_splat(v.i32x8, p + 4) >> v.multiples(v.i32x8, 4) & 15
            top = v.splat(v.i32x8, v.load_u16(p + 2)) >> v.multiples(v.i32x8, 2) & 3
            return (v.load_f16_splat(v.f32x8, p) * v.to_f32(v.f32x8, (low | top << 4) - 32),)

        scale = of_group(v, columns)
        return IntegerParts(bits=8, unpack=unpack, row=row, row_scale=scale, columns=columns, signed=True)


def _decode(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    import numpy as np

    steps = np.arange(8, dtype=np.uint32)
    top, low = blocks[:, 2:4].copy().view(np.uint16), blocks[:, 4:8].copy().view(np.uint32)
    scale = (low >> 4 * steps & 15 | (top >> 2 * steps & 3) << 4).astype(np.float32) - 32
    level = np.array(NON_LINEAR, np.float32)[fields(blocks[:, 8:].reshape(-1, 8, 16), 4)]
    return ((halves(blocks[:, :2]) * scale)[:, :, None] * level).reshape(-1, 256)
