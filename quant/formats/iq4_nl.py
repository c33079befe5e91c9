"""IQ4_NL: 32 values as x = d * level of q, q in 0..15 (see `levels`).

byte 0   2   half d
byte 2  16   q: low nibbles hold values 0..15, high nibbles values 16..31
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from ..blocks import decode, fields, halves
from ..format import Format
from ..levels import NON_LINEAR
from ..parts import IntegerParts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class IQ4_NL(Format, id=20, block=32, nbytes=18):
    @classmethod
    def dequantize(cls, data: NDArray[np.uint8]) -> NDArray[np.float32]:
        return decode(cls, _decode, data)

    @classmethod
    def kernels(cls, v: ModuleType) -> IntegerParts:
        nbytes, level = cls.nbytes, v.lookup16(NON_LINEAR)
        flipped = v.lookup16([x ^ -128 if v.FLIP_SIGNED else x for x in NON_LINEAR])

        def unpack(p, stride, tile):  # type: ignore[no-untyped-def]
            quads = v.load_rows(v.i32, p + 2, stride)
            for j in range(4):
                v.store(tile + 4 * v.LANES * j, flipped(v.bitcast(v.i8, quads[j] & 0x0F0F0F0F)))
                v.store(tile + 4 * v.LANES * (j + 4), flipped(v.bitcast(v.i8, (quads[j] >> 4) & 0x0F0F0F0F)))
            v.store(tile + 32 * v.LANES, v.load_f16_column(v.f32, p, stride))

        def row(p, g):  # type: ignore[no-untyped-def]
            return level(v.nibbles(v.load(v.i8x16, p + 2)))

        def row_scale(p, g):  # type: ignore[no-untyped-def]
            return v.load_f16_splat(v.f32x8, p)

        def columns(p):  # type: ignore[no-untyped-def]
            return (v.load_f16_column(v.f32x8, p, nbytes),)

        return IntegerParts(bits=8, unpack=unpack, row=row, row_scale=row_scale, columns=columns, signed=True)


def _decode(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    import numpy as np

    return halves(blocks[:, :2]) * np.array(NON_LINEAR, np.float32)[fields(blocks[:, 2:], 4)]
