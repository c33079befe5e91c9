"""How interleaved rows hold blocks of Q3_K: two groups of 32 weights share a byte, without bits that lie elsewhere.

    byte   0  96   two halves of 128 weights, 48 bytes each. Byte i of the first 32: q of weight i of the first group of
                   32 in bits 0..2, of the second group in bits 3..5, and the lower bits of the third in bits 6..7.
                   Nibbles of 16 bytes, low ones first: q of the fourth group, and above it the third's highest bit
    byte  96  14   scales and float16 d, as in the file

A vector of bytes takes 3.5 instructions to be taken out of that, in the file's order 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..simd.instruction_set import InstructionSet
from .parts import Part, TileParts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

THREE_BITS = {108: 2}  # the short unit of a block
HALF, NIBBLES = 48, 32  # bytes of a half, and where its nibbles are


def rearrange_three_bits(q: NDArray[np.uint8], blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Numbers (n, 256) of Q3_K's blocks (n, 110) -> blocks (n, 110) in this order."""
    import numpy as np

    first, second, third, fourth = np.moveaxis(q.reshape(-1, 2, 4, 32), 2, 0)
    low = first | second << np.uint8(3) | (third & np.uint8(3)) << np.uint8(6)
    nibbles = fourth | third >> np.uint8(2) << np.uint8(3)
    both = nibbles[..., :16] | nibbles[..., 16:] << np.uint8(4)
    return np.concatenate([np.concatenate([low, both], axis=2).reshape(-1, 96), blocks[:, 96:]], axis=1)


def three_bit_tiles(v: InstructionSet, scales: Part) -> TileParts:
    """The parts of interleaved Q3_K; `scales` as in `TileParts`."""

    @v.jitable
    def numbers(j, p, i):
        low = v.load_column(v.i32, p + 4 * j, 0)
        nibbles = v.load_column(v.i32, p + NIBBLES + 4 * (j % 4), 0) >> 4 * (j // 4)
        if i < 2:
            return v.bitcast(v.i8, low >> 3 * i & 0x07070707)
        if i == 2:
            return v.bitcast(v.i8, low >> 6 & 0x03030303 | nibbles >> 1 & 0x04040404)
        return v.bitcast(v.i8, nibbles & 0x07070707)

    eight = v.unroll_map(8, numbers)

    def weights(p, stride, n, i):
        v.forget_memory()  # else all groups of a half would be loaded at once, which is more than there are registers
        return eight(p + HALF * n, i)

    return TileParts(weights, scales, unit=4, rearrange=_rearrange(v))


def _rearrange(v: InstructionSet) -> Part:
    lanes = v.LANES

    @v.jitable
    def nibbles(q, top):
        return q >> 6 & 0x03030303 | (top & 0x04040404) << 1 | (top & 0x08080808) >> 1

    def rearrange(p, stride, at):
        for half in range(2):
            low, high = p + 32 + 32 * half, at + lanes * HALF * half
            quads = v.load_rows(v.i32, low, stride), v.load_rows(v.i32, low + 16, stride)
            tops = v.load_rows(v.i32, p, stride), v.load_rows(v.i32, p + 16, stride)
            for j in range(4):
                for part in range(2):
                    q, top = quads[part][j], tops[part][j] >> 4 * half
                    first, second = q & 0x03030303 | (top & 0x01010101) << 2, q & 0x0C0C0C0C | (top & 0x02020202) << 3
                    v.store(high + lanes * (16 * part + 4 * j), first | second << 1 | (q & 0x30303030) << 2)
                both = nibbles(quads[0][j], tops[0][j] >> 4 * half), nibbles(quads[1][j], tops[1][j] >> 4 * half)
                v.store(high + lanes * (NIBBLES + 4 * j), both[0] | both[1] << 4)
        dwords = v.load_rows(v.i32, p + 92, stride)  # 16 bytes from 96 on would reach beyond the block
        for j in range(3):
            v.store(at + lanes * (96 + 4 * j), dwords[1 + j])
        v.store(at + lanes * 108, v.load_column(v.i16, p + 108, stride))

    return rearrange
