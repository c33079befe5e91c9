"""Q1_0: 128 values, each d or -d.

byte 0   2   float16 d
byte 2  16   a bit for every value, the lowest first: 1 for d
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.codebooks import apply_signs
from ..blocks.fields import float16_values
from ..blocks.parts import DecodedParts
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Q1_0(Format, id=41, block=128, nbytes=18, activations="f32"):
    @classmethod
    def kernels(cls, v: InstructionSet) -> DecodedParts:
        with_signs = apply_signs(v)[0]

        def decode(p, out):
            minus = v.zero(v.f32x8) - v.load_f16_splat(v.f32x8, p)
            for i in range(16):
                v.store(out + 32 * i, with_signs(minus, v.load_i8(p + 2 + i)))

        return DecodedParts(decode)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        d, bits = float16_values(blocks[:, :2]), np.unpackbits(blocks[:, 2:], axis=1, bitorder="little")
        return np.where(bits, d, -d)
