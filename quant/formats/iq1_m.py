"""IQ1_M: 256 values in 16 groups of 16, x = d * (2 * scale + 1) * (y +- 1/8), y of two vectors of eight in a codebook.

byte  0  32   bits 0..7 of every vector's index
byte 32  16   4 bits for every vector, low nibbles first: bits 8..10 of its index, and 1 where an eighth is subtracted
byte 48   8   four times 16 bits, the lowest first: scale of four groups, 3 bits each, and 4 bits of float16 d
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.codebooks import codebook, vectors
from ..blocks.parts import DecodedParts
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class IQ1_M(Format, id=29, block=256, nbytes=56, activations="f32"):
    @classmethod
    def kernels(cls, v: InstructionSet) -> DecodedParts:
        vector, i16x8 = vectors(v, cls.name), v.Vec("i16", 8)

        def decode(p, out):
            last = v.load_i64(p + 48)
            half = last >> 12 & 0xF | last >> 24 & 0xF0 | last >> 36 & 0xF00 | last >> 48 & 0xF000
            d = v.to_f32(v.f32x8, v.bitcast(v.f16x8, v.splat(i16x8, half)))
            for g in range(16):
                scale = d * v.float32(2 * (last >> g // 4 * 16 + g % 4 * 3 & 7) + 1)
                for i in range(2):
                    bits = v.load_i8(p + 32 + g) >> 4 * i
                    delta = v.float32(-0.125) if bits & 8 else v.float32(0.125)
                    index = v.load_i8(p + 2 * g + i) & 255 | (bits & 7) << 8
                    v.store(out + 64 * g + 32 * i, (vector(index) + delta) * scale)

        return DecodedParts(decode)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        last = np.ascontiguousarray(blocks[:, 48:]).view(np.uint16)
        half = np.bitwise_or.reduce(last >> 12 << np.arange(0, 16, 4, dtype=np.uint16), axis=1, keepdims=True)
        scale = (last[..., None] >> np.arange(0, 12, 3, dtype=np.uint16) & 7).reshape(-1, 16)
        factor = half.view(np.float16).astype(np.float32) * (2 * scale + 1).astype(np.float32)
        bits = np.stack([blocks[:, 32:48] & 15, blocks[:, 32:48] >> 4], axis=-1)
        delta = np.where(bits & 8, np.float32(-0.125), np.float32(0.125))
        values = codebook("IQ1_M")[blocks[:, :32].reshape(-1, 16, 2) + (bits & 7) * np.uint16(256)]
        return (factor[..., None, None] * (values + delta[..., None])).reshape(-1, 256)
