"""F16: one little-endian IEEE float16 per value. Beyond 65504 there is only infinity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.fields import float16_bytes, float16_values
from ..blocks.parts import FloatParts
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class F16(Format, id=1, block=1, nbytes=2, activations="f32"):
    @classmethod
    def kernels(cls, v: InstructionSet) -> FloatParts:
        @v.jitable
        def low_half(pair):
            return v.to_f32(v.f32, v.bitcast(v.f16, v.truncate(v.i16, pair)))

        def unpack(p, stride, tile):
            pairs = v.load_rows(v.i32, p, stride)
            for j in range(4):
                v.store(tile + 8 * v.LANES * j, low_half(pairs[j]))
                v.store(tile + 8 * v.LANES * j + 4 * v.LANES, low_half(pairs[j] >> 16))

        def row(p):
            return v.to_f32(v.f32x8, v.load(v.f16x8, p))

        def pack(x):
            return v.to_f16(v.f16x8, x)

        return FloatParts(step=8, unpack=unpack, row=row, one=lambda p: v.load_f16(p), pack=pack)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        return float16_values(blocks)

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        return float16_bytes(x)
