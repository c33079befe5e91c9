"""Q8_0: 32 values as x = d * q, q in -127..127.

    byte 0   2   float16 d
    byte 2  32   q, int8

The value of largest magnitude gets 127 or -127; d is never negative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks.block32 import float16_at
from ..blocks.fields import float16_bytes, float16_values, inverse
from ..blocks.legacy_block_quant import block_quant
from ..blocks.parts import IntegerParts, QuantizeParts, TileParts
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Q8_0(Format, id=8, block=32, nbytes=34, short_units={0: 2}):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        flip, (row_scale, columns) = 0x80808080 if v.FLIP_SIGNED else 0, float16_at(v, 0, cls.nbytes)

        def unpack(p, stride, tile):
            low, high = v.load_rows(v.i32, p + 2, stride), v.load_rows(v.i32, p + 18, stride)
            for j in range(4):
                v.store(tile + 4 * v.LANES * j, low[j] ^ flip)
                v.store(tile + 4 * v.LANES * (j + 4), high[j] ^ flip)
            v.store(tile + 32 * v.LANES, v.load_f16_column(v.f32, p, stride))

        def row(p, g):
            return v.load(v.i8x32, p + 2)

        flipped = v.unroll_map(8, lambda j, low, high: v.bitcast(v.i8, (low if j < 4 else high)[j % 4] ^ flip))

        def weights(p, stride, n, i):
            return flipped(v.load_rows(v.i32, p + 2, stride), v.load_rows(v.i32, p + 18, stride))

        def scale(p, stride, tile):
            v.store(tile + 32 * v.LANES, v.load_f16_column(v.f32, p, stride))

        return IntegerParts(8, unpack, row, row_scale, columns, signed=True, tile=TileParts(weights, scale))

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> QuantizeParts:
        w, f32x16, i32x16, i8x16 = block_quant(v), v.Vec("f32", 16), v.Vec("i32", 16), v.Vec("i8", 16)
        extreme_of, inverse_of, store_float16 = w.extreme, w.inverse, w.store_float16

        @v.jitable
        def whole(x):
            return v.to_f32(f32x16, v.to_i32(i32x16, x))

        def one_pass(x, out):
            bits, extreme = extreme_of(x)
            d = v.div_exact(abs(extreme), v.float32(127))
            store_float16(out, d)
            inverse, low, top = v.splat(f32x16, inverse_of(d)), v.splat(f32x16, -128), v.splat(f32x16, 128)
            for half in range(2):
                scaled = v.minimum(v.maximum(v.mul_exact(v.load(f32x16, x + 64 * half), inverse), low), top)
                near = whole(scaled)
                q = near + whole(v.sub_exact(scaled, near) * 2)
                v.store(out + 2 + 16 * half, v.truncate(i8x16, v.to_i32(i32x16, q)))
            return bits

        return QuantizeParts(one_pass=one_pass)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        d, q = float16_values(blocks[:, :2]), blocks[:, 2:].view(np.int8)
        return q.astype(np.float32) * d

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        d = np.abs(x).max(axis=1, keepdims=True) / 127
        scaled = x * inverse(d)
        whole = np.trunc(scaled)
        q = whole + np.trunc(2 * (scaled - whole))  # halves away from zero; adding 0.5 would round 0.49999997 up
        return np.concatenate([float16_bytes(d), q.astype(np.int8).view(np.uint8)], axis=1)
