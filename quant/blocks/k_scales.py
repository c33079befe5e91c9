"""The 6-bit scales and minima of eight groups of 32 in 12 bytes, which Q4_K and Q5_K share.

Bytes 0..3: scales 0..3, and in their upper two bits those of scales 4..7. Bytes 4..7: the same for minima.
Bytes 8..11: the lower four bits, of scales 4..7 in low nibbles, of minima 4..7 in high ones.
The 12 bytes follow float16 d and float16 dmin, the factors of scales and minima: a header of 16 bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..scale_search import affine
from ..scale_search.search import FLOAT16_D, FLOAT16_DMIN, MIN_BYTES, SCALE_BYTES
from ..simd.instruction_set import InstructionSet
from .packing import copy_float16
from .parts import IntegerParts, Part, TileParts, of_group

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def scales_and_minima(header: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Headers (n, 16) uint8 -> scales and what is to be subtracted, (n, 8) float32 each."""
    import numpy as np

    from .fields import float16_values

    d, dmin, first, second, last = np.split(header, [2, 4, 8, 12], axis=1)
    scale = np.concatenate([first & 63, last & 15 | first >> 2 & 48], axis=1).astype(np.float32)
    low = np.concatenate([second & 63, last >> 4 | second >> 2 & 48], axis=1).astype(np.float32)
    return float16_values(d) * scale, float16_values(dmin) * low


def pack_header(found: affine.AffineBlocks) -> NDArray[np.uint8]:
    """What a search found -> headers (n, 16) uint8."""
    import numpy as np

    from .fields import float16_bytes

    scale, low = found.scale, found.low
    first, second = (a[:, :4] | (a[:, 4:] >> np.uint8(4)) << np.uint8(6) for a in (scale, low))
    last = scale[:, 4:] & np.uint8(15) | low[:, 4:] << np.uint8(4)
    halves = [float16_bytes(d[:, None]) for d in (found.d, found.dmin)]
    return np.concatenate([*halves, first, second, last], axis=1)


def store_header(v: InstructionSet) -> Any:
    """`(out, scratch, group)`: the header from what a search left in its scratch."""
    copy = copy_float16(v)

    def store(out, scratch, group):
        copy(out, scratch + FLOAT16_D + 2 * group)
        copy(out + 2, scratch + FLOAT16_DMIN + 2 * group)
        scale, low = v.load_i64(scratch + SCALE_BYTES + group), v.load_i64(scratch + MIN_BYTES + group)
        v.store(out + 4, v.int32(scale | (scale >> 32 & 0x30303030) << 2))
        v.store(out + 8, v.int32(low | (low >> 32 & 0x30303030) << 2))
        v.store(out + 12, v.int32(scale >> 32 & 0x0F0F0F0F | (low >> 32 & 0x0F0F0F0F) << 4))

    return v.jitable(store)


class ScaleParts(NamedTuple):
    """`store(p, stride, tile, size)`: scales and minima of LANES headers, at `tile` and every `size` bytes on.

    The others are those of `IntegerParts`.
    """

    store: Part
    row_scale: Part
    row_min: Part
    columns: Part
    column_min: Part

    def integer_parts(self, v: InstructionSet, bits: int, unpack: Part, row: Part, weights: Part) -> IntegerParts:
        """The parts of a format whose unsigned numbers are unpacked by `unpack`, `row` and `weights` (of TileParts)."""
        store, first, size = v.jitable(self.store), 32 * v.LANES, 40 * v.LANES
        tile = TileParts(weights, lambda p, stride, tile: store(p, stride, tile + first, size), unit=2)
        return IntegerParts(bits, unpack, row, self.row_scale, self.columns, self.row_min, self.column_min, tile=tile)


def scale_parts(v: InstructionSet) -> ScaleParts:
    """The parts for blocks that begin with a header."""
    eight = _eight(v)

    def columns(p):
        first, last = v.load_i64(p + 4), v.load_i32(p + 12)
        high = last & 0x0F0F0F0F | (first >> 2) & 0x30303030
        return (v.load_f16_splat(v.f32x8, p) * eight(first & 0x3F3F3F3F | high << 32),)

    def column_min(p):
        first, last = v.load_i64(p + 4) >> 32, v.load_i32(p + 12)
        high = (last >> 4) & 0x0F0F0F0F | (first >> 2) & 0x30303030
        return (v.load_f16_splat(v.f32x8, p + 2) * (v.zero(v.f32x8) - eight(first & 0x3F3F3F3F | high << 32)),)

    return ScaleParts(_store(v), of_group(v, columns), of_group(v, column_min), columns, column_min)


def _eight(v: InstructionSet) -> Any:
    """The bytes of an int64, below 128, as float32x8."""
    one, i8x8 = v.Vec("i64", 1), v.Vec("i8", 8)
    return v.jitable(lambda x: v.to_f32(v.f32x8, v.widen_signed(v.i32x8, v.bitcast(i8x8, v.splat(one, x)))))


def _store(v: InstructionSet) -> Part:
    f32, vector = v.f32, 4 * v.LANES

    @v.jitable
    def half_of(x):
        return v.to_f32(f32, v.bitcast(v.f16, v.truncate(v.i16, x)))

    def store(p, stride, tile, size):
        header = v.load_rows(v.i32, p, stride)
        d, dmin = half_of(header[0]), v.zero(f32) - half_of(header[0] >> 16)
        high = header[3] & 0x0F0F0F0F | (header[1] >> 2) & 0x30303030
        low_high = (header[3] >> 4) & 0x0F0F0F0F | (header[2] >> 2) & 0x30303030
        scales, minima = (header[1] & 0x3F3F3F3F, high), (header[2] & 0x3F3F3F3F, low_high)
        for half in range(2):
            for i in range(4):
                at = tile + size * (4 * half + i)
                v.store(at, d * v.to_f32(f32, (scales[half] >> 8 * i) & 0xFF))
                v.store(at + vector, dmin * v.to_f32(f32, (minima[half] >> 8 * i) & 0xFF))

    return store
