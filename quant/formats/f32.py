"""F32: one little-endian IEEE single per value. For norms, biases and whatever is too small to be worth packing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.parts import FloatParts
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class F32(Format, id=0, block=1, nbytes=4, activations="f32"):
    @classmethod
    def kernels(cls, v: InstructionSet) -> FloatParts:
        def unpack(p, stride, tile):
            quads = v.load_rows(v.i32, p, stride)
            for j in range(4):
                v.store(tile + 4 * v.LANES * j, quads[j])

        return FloatParts(
            step=4, unpack=unpack, row=lambda p: v.load(v.f32x8, p), one=lambda p: v.load_f32(p), pack=lambda x: x
        )

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        return blocks.view(np.float32)

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        return x.view(np.uint8)
