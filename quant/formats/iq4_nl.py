"""IQ4_NL: 32 values as x = d * level of q, q in 0..15 (see `lookup_levels`).

byte 0   2   float16 d
byte 2  16   q: low nibbles hold values 0..15, high nibbles values 16..31
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.block32 import float16_at, nibbles_to_tile, pack_nibbles, tile_nibbles
from ..blocks.fields import fields, float16_bytes, float16_values, pack_fields
from ..blocks.lookup_levels import NON_LINEAR, NON_LINEAR_TRIALS
from ..blocks.parts import IntegerParts, QuantizeParts, TileParts
from ..format import Format
from ..scale_search.symmetric import Symmetric, symmetric
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SEARCH = Symmetric(group=32, levels=NON_LINEAR, trials=NON_LINEAR_TRIALS, floor=0.12)


class IQ4_NL(Format, id=20, block=32, nbytes=18, short_units={0: 2}):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        level, (row_scale, columns) = v.lookup16(NON_LINEAR), float16_at(v, 0, cls.nbytes)
        flipped = v.lookup16([x ^ -128 if v.FLIP_SIGNED else x for x in NON_LINEAR])

        numbers = nibbles_to_tile(v, 2, lambda q: flipped(v.bitcast(v.i8, q)))

        def unpack(p, stride, tile):
            numbers(p, stride, tile)
            v.store(tile + 32 * v.LANES, v.load_f16_column(v.f32, p, stride))

        def row(p, g):
            return level(v.nibbles(v.load(v.i8x16, p + 2)))

        nibbles, look_up = tile_nibbles(v, 2), v.unroll_map(8, lambda j, q: flipped(q[j]))

        def scale(p, stride, tile):
            v.store(tile + 32 * v.LANES, v.load_f16_column(v.f32, p, stride))

        tile = TileParts(lambda p, stride, n, i: look_up(nibbles(p, stride)), scale)
        return IntegerParts(8, unpack, row, row_scale, columns, signed=True, tile=tile)

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> QuantizeParts:
        return QuantizeParts(search=SEARCH, pack=pack_nibbles(v))

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        return float16_values(blocks[:, :2]) * np.array(NON_LINEAR, np.float32)[fields(blocks[:, 2:], 4)]

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        found = symmetric(x, importance, SEARCH)
        return np.concatenate([float16_bytes(found.d[:, None]), pack_fields(found.q, 4)], axis=1)
