"""TQ1_0: 256 values as x = d * (q - 1), q in 0..2, five to a byte as digits of a number in base 3.

    byte  0  32   digits of values 0..159: the first digits of all 32 bytes, then the second ones, ...
    byte 32  16   digits of values 160..239, likewise
    byte 48   4   four digits each, of values 240..255
    byte 52   2   float16 d

A byte is ceil(256 / 243 * number), so its first digit is the carry of 3 * byte out of 8 bits, and what stays in the 8
bits holds the next ones: Compilade, "Ternary packing", 2024.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.fields import float16_bytes, float16_values, inverse, sign_levels
from ..blocks.parts import DecodedParts
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TQ1_0(Format, id=34, block=256, nbytes=54, activations="f32"):
    @classmethod
    def kernels(cls, v: InstructionSet) -> DecodedParts:
        i8x8, i32x2, i32x4 = v.Vec("i8", 8), v.Vec("i32", 2), v.i32x4

        @v.jitable
        def digit(numbers, powers, d):
            """The digit that is first once the number is multiplied by a power of 3, times d."""
            carry = ((numbers * powers & 255) * 3 >> 8) - 1
            return v.to_f32(v.f32x8, carry) * d

        def decode(p, out):
            d = v.load_f16(p + 52)
            for i in range(6):  # 8 bytes of 32, or of 16
                numbers, power = v.widen_unsigned(v.i32x8, v.load(i8x8, p + 8 * i)), 1
                at, step = (out + 32 * i, 128) if i < 4 else (out + 640 + 32 * (i - 4), 64)
                for n in range(5):
                    v.store(at + step * n, digit(numbers, v.splat(v.i32x8, power), d))
                    power *= 3
            four = v.widen_unsigned(v.i32x8, v.bitcast(i8x8, v.load_splat(i32x2, p + 48)))
            v.store(out + 960, digit(four, v.join(v.splat(i32x4, 1), v.splat(i32x4, 3)), d))
            v.store(out + 992, digit(four, v.join(v.splat(i32x4, 9), v.splat(i32x4, 27)), d))

        return DecodedParts(decode)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        q = [_digits(blocks[:, first:last], n) for first, last, n in RUNS]
        return float16_values(blocks[:, 52:]) * (np.concatenate(q, axis=1).astype(np.float32) - 1)

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        d = np.abs(x).max(axis=1, keepdims=True)
        q, parts, at = sign_levels(x * inverse(d)).astype(np.uint16), [], 0
        for first, last, count in RUNS:
            digits = q[:, at : at + count * (last - first)].reshape(-1, count, last - first)
            number = (digits * 3 ** np.arange(4, 4 - count, -1, dtype=np.uint16)[:, None]).sum(axis=1, dtype=np.uint16)
            parts.append(((number * 256 + 242) // 243).astype(np.uint8))
            at += count * (last - first)
        return np.concatenate([*parts, float16_bytes(d)], axis=1)


RUNS = ((0, 32, 5), (32, 48, 5), (48, 52, 4))  # first and last byte, and digits of each


def _digits(data: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Bytes (n, bytes) -> the first digits of all, then the second ones, ...: (n, count * bytes) uint8."""
    import numpy as np

    powers = 3 ** np.arange(count, dtype=np.uint8)[:, None]
    carries = (data[:, None] * powers).astype(np.uint16) * 3 >> 8
    return carries.astype(np.uint8).reshape(len(data), -1)
