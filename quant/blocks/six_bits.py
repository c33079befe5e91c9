"""How interleaved rows hold blocks of Q6_K: of four groups of 32 weights, three have a byte for each of their weights.

    byte   0  192   two halves of 128 weights; in each, 32 bytes for each of the first three groups of 32: q in bits
                    0..5, and in bits 6..7 a pair of bits of the fourth group's q, the lowest beside the first group
    byte 192   16   scale of every 16 weights, int8
    byte 208    2   float16 d

Three groups of four then take one instruction for a vector of bytes, where nibbles and pairs of bits take four to six.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..simd.instruction_set import InstructionSet
from .parts import Part, TileParts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIX_BITS = dict.fromkeys(range(192, 208), 1) | {208: 2}  # the short units of a block
TOP = 0xC0C0C0C0


def rearrange_six_bits(q: NDArray[np.uint8], blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Numbers (n, 2, 128) of Q6_K's blocks (n, 210) -> blocks (n, 210) in this order."""
    import numpy as np

    groups = q.reshape(-1, 2, 4, 32)
    pairs = groups[:, :, 3:] >> np.array([[0], [2], [4]], np.uint8) & np.uint8(3)
    numbers = (groups[:, :, :3] | pairs << np.uint8(6)).reshape(-1, 192)
    return np.concatenate([numbers, blocks[:, 192:]], axis=1)


def six_bit_tiles(v: InstructionSet) -> TileParts:
    """The parts of interleaved Q6_K."""
    lanes, column = v.LANES, v.Vec("i8", v.LANES)

    @v.jitable
    def numbers(j, p, i):
        if i < 3:
            return v.bitcast(v.i8, v.load_column(v.i32, p + 32 * i + 4 * j, 0) & 0x3F3F3F3F)
        v.forget_memory()
        first, second = v.load_column(v.i32, p + 4 * j, 0) & TOP, v.load_column(v.i32, p + 32 + 4 * j, 0) & TOP
        third = v.load_column(v.i32, p + 64 + 4 * j, 0) & TOP
        return v.bitcast(v.i8, ((first >> 2 | second) >> 2 | third) >> 2)

    eight = v.unroll_map(8, numbers)

    def scales(p, stride, tile):
        d = v.load_f16_column(v.f32, p + 208, stride)
        for g in range(8):
            for half in range(2):
                scale = v.widen_signed(v.i32, v.load_column(column, p + 192 + 2 * g + half, stride))
                v.store(tile + lanes * (40 * g + 32 + 4 * half), d * v.to_f32(v.f32, scale))

    def weights(p, stride, n, i):
        v.forget_memory()  # else all groups of a half would be loaded at once, which is more than there are registers
        return eight(p + 96 * n, i)

    return TileParts(weights, scales, unit=4, rearrange=_rearrange(v))


def _rearrange(v: InstructionSet) -> Part:
    lanes, column = v.LANES, v.Vec("i8", v.LANES)

    @v.jitable
    def rearrange_half(p, high, stride, at):
        """16 bytes of low bits at `p`, as many 32 on, their high bits: 16 bytes of each of three groups at `at`."""
        first, second = v.load_rows(v.i32, p, stride), v.load_rows(v.i32, p + 32, stride)
        top = v.load_rows(v.i32, high, stride)
        for j in range(4):
            last = (second[j] >> 4) & 0x0F0F0F0F | (top[j] & TOP) >> 2
            v.store(at + 4 * lanes * j, first[j] & 0x0F0F0F0F | (top[j] & 0x03030303) << 4 | (last & 0x03030303) << 6)
            middle = second[j] & 0x0F0F0F0F | (top[j] & 0x0C0C0C0C) << 2
            v.store(at + lanes * (32 + 4 * j), middle | (last & 0x0C0C0C0C) << 4)
            third = (first[j] >> 4) & 0x0F0F0F0F | top[j] & 0x30303030
            v.store(at + lanes * (64 + 4 * j), third | (last & 0x30303030) << 2)

    def rearrange(p, stride, at):
        for half in range(2):
            for part in range(2):
                target = at + lanes * (96 * half + 16 * part)
                rearrange_half(p + 64 * half + 16 * part, p + 128 + 32 * half + 16 * part, stride, target)
        numbers = v.load_rows(v.i32, p + 192, stride)
        for j in range(4):
            for i in range(4):
                v.store(at + lanes * (192 + 4 * j + i), v.truncate(column, numbers[j] >> 8 * i))
        v.store(at + lanes * 208, v.load_column(v.i16, p + 208, stride))

    return rearrange
