"""Q4_0: 32 values as x = d * (q - 8), q in 0..15.

    byte 0   2   float16 d
    byte 2  16   q: low nibbles hold values 0..15, high nibbles values 16..31

The value of largest magnitude gets q = 0, that is -8, so d may be negative.
"""

from __future__ import annotations

from ..blocks.block32 import NibbleBlock
from ..format import Format
from ..scale_search.symmetric import Symmetric

BLOCK = NibbleBlock(bits=4, search=Symmetric(group=32, levels=range(-8, 8), trials=((-9.0, 0.1, 21),), floor=0.08))


class Q4_0(Format, id=2, block=32, nbytes=18, short_units={0: 2}):
    kernels, quantize_parts = BLOCK.kernels, BLOCK.quantize_parts
    dequantize_blocks, quantize_blocks = BLOCK.dequantize_blocks, BLOCK.quantize_blocks
