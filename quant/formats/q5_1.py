"""Q5_1: 32 values as x = d * q + m, q in 0..31.

    byte 0   2   float16 d
    byte 2   2   float16 m, the smallest value
    byte 4   4   bit 4 of q: bit j of these 32 belongs to value j
    byte 8  16   bits 0..3 of q: low nibbles hold values 0..15, high nibbles values 16..31

The smallest value gets q = 0, the largest 31.
"""

from __future__ import annotations

from ..blocks.block32 import NibbleBlock
from ..format import Format
from ..scale_search.affine import Affine

BLOCK = NibbleBlock(bits=5, search=Affine(group=32, max_level=31))


class Q5_1(Format, id=7, block=32, nbytes=24, short_units={0: 2, 2: 2}):
    kernels, quantize_parts = BLOCK.kernels, BLOCK.quantize_parts
    dequantize_blocks, quantize_blocks = BLOCK.dequantize_blocks, BLOCK.quantize_blocks
    rearrange_blocks = BLOCK.rearrange_blocks
