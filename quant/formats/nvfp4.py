"""NVFP4: 64 values in 4 groups of 16, x = scale / 2 * level of q (see `lookup_levels`: twice an E2M1 float).

    byte 0   4   scale of every group, an unsigned E4M3 float: 4 bits of exponent, 3 of mantissa
    byte 4  32   q, 8 bytes for each group: low nibbles hold values 0..7, high nibbles values 8..15

As in ggml, the top bit of a scale is ignored, and its NaN, 127, is 0. The file's tensor-wide factor is a tensor beside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.lookup_levels import E2M1
from ..blocks.parts import DecodedParts
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class NVFP4(Format, id=40, block=64, nbytes=36, activations="f32"):
    @classmethod
    def kernels(cls, v: InstructionSet) -> DecodedParts:
        level, scales, i8x8 = v.lookup16(E2M1), v.table(_scales().tobytes()), v.Vec("i8", 8)

        @v.jitable
        def values(levels, scale):
            return v.to_f32(v.f32x8, v.widen_signed(v.i32x8, levels)) * scale

        def decode(p, out):
            for g in range(4):
                scale = v.load_f32(scales() + 4 * (v.load_i8(p + g) & 255))
                both = level(v.nibbles(v.load(i8x8, p + 4 + 8 * g)))
                v.store(out + 64 * g, values(v.low_half(both), scale))
                v.store(out + 64 * g + 32, values(v.high_half(both), scale))

        return DecodedParts(decode)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        q = blocks[:, 4:].reshape(-1, 4, 8)
        level = np.array(E2M1, np.float32)[np.concatenate([q & 15, q >> 4], axis=-1)]
        values: NDArray[np.float32] = _scales()[blocks[:, :4]][..., None] * level
        return values.reshape(-1, 64)


def _scales() -> NDArray[np.float32]:
    """Half the value of each of the 256 scales."""
    import numpy as np

    byte = np.arange(256)
    exponent, mantissa = byte >> 3 & 15, byte & 7
    normal, subnormal = np.ldexp(8 + mantissa, exponent - 11), np.ldexp(mantissa, -10)
    return np.where(byte == 127, 0, np.where(exponent > 0, normal, subnormal)).astype(np.float32)
