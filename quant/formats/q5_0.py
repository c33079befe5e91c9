"""Q5_0: 32 values as x = d * (q - 16), q in 0..31.

    byte 0   2   float16 d
    byte 2   4   bit 4 of q: bit j of these 32 belongs to value j
    byte 6  16   bits 0..3 of q: low nibbles hold values 0..15, high nibbles values 16..31

The value of largest magnitude gets q = 0, that is -16, so d may be negative.
"""

from __future__ import annotations

from ..blocks.block32 import NibbleBlock
from ..format import Format
from ..scale_search.symmetric import Symmetric

BLOCK = NibbleBlock(bits=5, search=Symmetric(group=32, levels=range(-16, 16), trials=((-17.0, 0.1, 21),), floor=0.08))


class Q5_0(Format, id=6, block=32, nbytes=22, short_units={0: 2}):
    kernels, quantize_parts = BLOCK.kernels, BLOCK.quantize_parts
    dequantize_blocks, quantize_blocks = BLOCK.dequantize_blocks, BLOCK.quantize_blocks
    rearrange_blocks = BLOCK.rearrange_blocks
