"""BF16: the upper 16 bits of an IEEE single per value, rounded to nearest even. F32's range, 8 bits of precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.parts import FloatParts
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class BF16(Format, id=30, block=1, nbytes=2, activations="f32"):
    @classmethod
    def kernels(cls, v: InstructionSet) -> FloatParts:
        i16x8 = v.Vec("i16", 8)

        def unpack(p, stride, tile):
            pairs = v.load_rows(v.i32, p, stride)
            for j in range(4):
                v.store(tile + 8 * v.LANES * j, pairs[j] << 16)
                v.store(tile + 8 * v.LANES * j + 4 * v.LANES, pairs[j] & 0xFFFF0000)

        def row(p):
            return v.bitcast(v.f32x8, v.widen_unsigned(v.i32x8, v.load(i16x8, p)) << 16)

        def pack(x):
            bits = v.bitcast(v.i32x8, x)
            return v.truncate(i16x8, (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)

        return FloatParts(step=8, unpack=unpack, row=row, one=lambda p: v.as_f32(v.load_u16(p) << 16), pack=pack)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        return (blocks.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        bits = x.view(np.uint32)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        return ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16).view(np.uint8)
