"""MXFP4: 32 values as x = 2^(e - 128) * level of q, q in 0..15 (see `lookup_levels`: twice the value of an E2M1 float).

    byte 0   1   e
    byte 1  16   q: low nibbles hold values 0..15, high nibbles values 16..31

OCP Microscaling Formats 1.0, with ggml's order of nibbles; e = 255, there NaN, is a number here as it is in ggml.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..blocks.block32 import nibbles_to_tile, tile_nibbles
from ..blocks.fields import fields, pack_fields
from ..blocks.legacy_block_quant import block_quant
from ..blocks.lookup_levels import E2M1
from ..blocks.parts import IntegerParts, QuantizeParts, TileParts
from ..format import Format
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MXFP4(Format, id=39, block=32, nbytes=17, short_units={0: 1}):
    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        nbytes, level, vector = cls.nbytes, v.lookup16([x + 16 for x in E2M1]), 4 * v.LANES
        i8x8, exponents = v.Vec("i8", 8), v.Vec("i8", v.LANES)

        @v.jitable
        def power(kind, numbers, e):
            """2^(e - 128): a float's exponent, or one of the two subnormal powers, which are less than any other."""
            wide = v.widen_unsigned(numbers, e)
            return v.bitcast(kind, v.maximum((wide - 1) << 23, ((wide & 1) + 1) << 21))

        numbers = nibbles_to_tile(v, 1, lambda q: level(v.bitcast(v.i8, q)))

        @v.jitable
        def scale(p, stride, tile):
            v.store(tile + 8 * vector, power(v.f32, v.i32, v.load_column(exponents, p, stride)))

        def unpack(p, stride, tile):
            numbers(p, stride, tile)
            scale(p, stride, tile)

        def row(p, g):
            return level(v.nibbles(v.load(v.i8x16, p + 1)))

        def row_scale(p, g):
            return power(v.f32x8, v.i32x8, v.load_splat(i8x8, p))

        def columns(p):
            return (power(v.f32x8, v.i32x8, v.load_column(i8x8, p, nbytes)),)

        nibbles, look_up = tile_nibbles(v, 1), v.unroll_map(8, lambda j, q: level(q[j]))
        tile = TileParts(lambda p, stride, n, i: look_up(nibbles(p, stride)), scale)
        return IntegerParts(5, unpack, row, row_scale, columns, shift=4, tile=tile)

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> QuantizeParts:
        w, f32x16, i32x16, i8x16 = block_quant(v), v.Vec("f32", 16), v.Vec("i32", 16), v.Vec("i8", 16)
        extreme_of, store_nibbles = w.extreme, w.store_nibbles
        i8x1 = v.Vec("i8", 1)

        def stair(i: int) -> Any:
            middle = (E2M1[i] + E2M1[i + 1]) / 4  # `inverse` is a half of what it should be, so that it never overflows
            return v.jitable(
                lambda n, t: n + v.select_gt(t, v.splat(f32x16, middle), v.splat(f32x16, 1), v.zero(f32x16))
            )

        climb = v.fold_parts([stair(i) for i in range(7)])

        @v.jitable
        def number(x, inverse):
            """Ties and a minus zero go to the lower number."""
            n, zero = climb(v.zero(f32x16), v.absolute(x) * inverse), v.zero(f32x16)
            sign = v.select_gt(n, zero, v.select_gt(zero, x, v.splat(f32x16, 8), zero), zero)
            return v.truncate(i8x16, v.to_i32(i32x16, n + sign))

        def one_pass(x, out):
            bits, _ = extreme_of(x)
            e = max((bits >> 23) - 2, 0)
            v.store(out, v.splat(i8x1, e))
            inverse = v.as_f32(254 - e << 23)
            first, last = (number(v.load(f32x16, x), inverse), number(v.load(f32x16, x + 64), inverse))
            store_nibbles(out + 1, first, last)
            return bits

        return QuantizeParts(one_pass=one_pass)

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        return _power(blocks[:, :1]) * np.array(E2M1, np.float32)[fields(blocks[:, 1:], 4)]

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        import numpy as np

        peak = np.abs(x).max(axis=1, keepdims=True)
        e = np.where(peak > 0, np.floor(np.log2(peak)) + 125, 0).clip(0, 255).astype(np.uint8)
        levels = _power(e)[:, None] * np.array(E2M1, np.float32)[:, None]
        q = np.abs(levels - x[:, None]).argmin(axis=1).astype(np.uint8)
        return np.concatenate([e, pack_fields(q, 4)], axis=1)


def _power(e: NDArray[np.uint8]) -> NDArray[np.float32]:
    import numpy as np

    return np.ldexp(np.float32(1), e.astype(np.int32) - 128)
