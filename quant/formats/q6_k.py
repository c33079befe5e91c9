"""Q6_K: 256 values in 16 groups of 16, x = d * scale * (q - 32), q in 0..63, scale int8.

    byte   0  128   bits 0..3 of q
    byte 128   64   bits 4..5 of q
    byte 192   16   scale of every group, int8
    byte 208    2   half d

Bits lie in two halves of 128 values each. In a half, low nibbles of its 64 bytes hold values 0..63, high nibbles values
64..127; the four 2-bit fields of its 32 high bytes hold values 0..31, 32..63, 64..95 and 96..127.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from ..blocks import decode, encode, fields, half_bytes, halves, inverse, pack_fields
from ..format import Format
from ..parts import IntegerParts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Q6_K(Format, id=14, block=256, nbytes=210):
    @classmethod
    def dequantize(cls, data: NDArray[np.uint8]) -> NDArray[np.float32]:
        return decode(cls, _decode, data)

    @classmethod
    def quantize(cls, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        return encode(cls, _encode, values)

    @classmethod
    def kernels(cls, v: ModuleType) -> IntegerParts:
        i16x8 = v.Vec("i16", 8)
        vector, size = 4 * v.LANES, 40 * v.LANES  # of a tile's four weights, and of its 32 with their two scales

        @v.jitable
        def unpack_half(p, high, stride, tile):  # type: ignore[no-untyped-def]
            """16 bytes of low bits at `p`, as many 32 on, their high bits: a half of each of four groups of 32."""
            first, second = v.load_rows(v.i32, p, stride), v.load_rows(v.i32, p + 32, stride)
            top = v.load_rows(v.i32, high, stride)
            for j in range(4):
                at = tile + vector * j
                v.store(at, first[j] & 0x0F0F0F0F | (top[j] & 0x03030303) << 4)
                v.store(at + size, second[j] & 0x0F0F0F0F | (top[j] & 0x0C0C0C0C) << 2)
                v.store(at + 2 * size, (first[j] >> 4) & 0x0F0F0F0F | top[j] & 0x30303030)
                v.store(at + 3 * size, (second[j] >> 4) & 0x0F0F0F0F | (top[j] & 0xC0C0C0C0) >> 2)

        def unpack(p, stride, tile):  # type: ignore[no-untyped-def]
            for half in range(2):
                for part in range(2):
                    at = tile + 4 * size * half + 4 * vector * part
                    unpack_half(p + 64 * half + 16 * part, p + 128 + 32 * half + 16 * part, stride, at)
            d, scales = v.load_f16_column(v.f32, p + 208, stride), v.load_rows(v.i32, p + 192, stride)
            for j in range(4):
                for i in range(4):
                    scale = d * v.to_f32(v.f32, v.shift_signed(scales[j] << 24 - 8 * i, 24))
                    v.store(tile + size * (2 * j + i // 2) + 32 * v.LANES + vector * (i % 2), scale)

        def row(p, g):  # type: ignore[no-untyped-def]
            low = v.load(v.i8x32, p + 64 * (g // 4) + 32 * (g % 2))
            high = v.load(v.i8x32, p + 128 + 32 * (g // 4))
            low = v.shift_bytes(low, 4) if g % 4 > 1 else low
            return low & 15 | (v.shift_bytes(high, 2 * (g % 4)) & 3) << 4

        def row_scale(p, g):  # type: ignore[no-untyped-def]
            scale = v.load_two_halves(v.f32x8, p + 192 + 2 * g)
            return v.load_f16_splat(v.f32x8, p + 208) * scale

        def columns(p):  # type: ignore[no-untyped-def]
            pairs, d = v.load(i16x8, p + 192), v.load_f16_splat(v.f32x8, p + 208)
            wide = v.widen_signed(v.i32x8, pairs)
            low = v.to_f32(v.f32x8, v.shift_signed(wide << 24, 24))
            return d * low, d * v.to_f32(v.f32x8, v.shift_signed(wide, 8))

        return IntegerParts(bits=6, unpack=unpack, row=row, row_scale=row_scale, columns=columns, shift=5, scales=2)


def _decode(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    import numpy as np

    low = fields(blocks[:, :128].reshape(-1, 2, 64), 4)
    high = fields(blocks[:, 128:192].reshape(-1, 2, 32), 2)
    scale, d = blocks[:, 192:208].view(np.int8).astype(np.float32), halves(blocks[:, 208:])
    q = (low | high << np.uint8(4)).reshape(-1, 16, 16).astype(np.float32) - 32
    return ((d * scale)[:, :, None] * q).reshape(-1, 256)


def _encode(x: NDArray[np.float32]) -> NDArray[np.uint8]:
    import numpy as np

    # Squares must neither overflow nor vanish: search in units of a power of two, which changes no mantissa.
    unit = np.frexp(np.abs(x).max(axis=1, keepdims=True))[1]
    groups = np.ldexp(x, -unit).reshape(-1, 16)
    ideal = _group_scales(np.ascontiguousarray(groups.T)).reshape(-1, 16)
    largest = np.take_along_axis(ideal, np.abs(ideal).argmax(axis=1, keepdims=True), axis=1)
    per_d = -128 * inverse(largest)
    scale = np.rint(per_d * ideal).clip(-128, 127)
    d = half_bytes(np.ldexp(inverse(per_d), unit))
    step = (halves(d) * scale)[:, :, None]
    q = np.where(step == 0, -32, np.rint(x.reshape(-1, 16, 16) / step)).clip(-32, 31)
    bits = (q + 32).astype(np.uint8).reshape(-1, 2, 128)
    low, high = (
        pack_fields(bits & np.uint8(15), 4).reshape(-1, 128),
        pack_fields(bits >> np.uint8(4), 2).reshape(-1, 64),
    )
    return np.concatenate([low, high, scale.astype(np.int8).view(np.uint8), d], axis=1)


def _group_scales(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scale of each group, (16, n) -> (n,): of 19 near the obvious one, that of least error weighted by x * x.

    The weights make large values, which dominate a dot product, the most exact. For the integers q of each trial the
    best scale is sum(wxq) / sum(wqq), and it lowers the error by sum(wxq)^2 / sum(wqq).
    """
    import numpy as np

    w = x * x
    wx = w * x
    per_extreme = -inverse(np.take_along_axis(x, np.abs(x).argmax(axis=0, keepdims=True), axis=0))
    best = np.zeros(x.shape[1], np.float32)
    scale = np.zeros(x.shape[1], np.float32)
    for trial in (0, *range(-9, 0), *range(1, 10)):
        q = np.rint(x * (per_extreme * np.float32(32 + 0.1 * trial))).clip(-32, 31)
        wxq, wqq = (wx * q).sum(axis=0), (w * q * q).sum(axis=0)
        better = wxq * wxq > best * wqq
        scale[better] = (wxq / wqq)[better]
        best[better] = (scale * wxq)[better]
    return scale
