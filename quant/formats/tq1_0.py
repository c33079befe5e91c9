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
from ..blocks.parts import IntegerParts, of_group
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TQ1_0(Format, id=34, block=256, nbytes=54):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        i16x4, i32x4 = v.Vec("i16", 4), v.Vec("i32", 4)

        @v.jitable
        def digits(kind, p, out, step):
            """All five of each byte less 128, since bytes are compared as signed ones: 3 * (x - 128) is 3 * x - 128."""
            x, zero, one = v.load(kind, p) ^ 0x80, v.zero(kind), v.splat(kind, 1)
            for n in range(5):
                first = v.select_gt(x, v.splat(kind, 85 - 128), one, zero)
                v.store(out + step * n, first + v.select_gt(x, v.splat(kind, 170 - 128), one, zero))
                x = x + x + x

        @v.jitable
        def power(n):
            return v.splat(i16x4, n)

        def prepare(p, out):
            digits(v.i8x32, p, out, 32)
            digits(v.i8x16, p + 32, out + 160, 16)
            four = v.widen_unsigned(v.i16x16, v.bitcast(v.i8x16, v.load_splat(i32x4, p + 48)))
            powers = v.join(v.join(power(1), power(3)), v.join(power(9), power(27)))
            v.store(out + 240, v.truncate(v.i8x16, (four * powers & 0xFF) * 3 >> 8))

        def columns(p):
            return (v.load_f16_splat(v.f32x8, p + 52),)

        def row(q, g):
            return v.load(v.i8x32, q + 32 * g)

        scale = of_group(v, columns)
        return IntegerParts(bits=4, unpack=None, row=row, row_scale=scale, columns=columns, shift=0, prepare=prepare)

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
