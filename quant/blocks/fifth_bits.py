"""Bits 4 of Q5_0 and Q5_1 for tiles: bit j of byte i belongs to weight 4 j + i, where the file has bit 4 j + i for it.

A vector of four weights then takes a shift and a mask, where bits that lie side by side take a product to spread them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..simd.instruction_set import InstructionSet
from .bit_swaps import swap_bits, swapped
from .parts import Part

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BITS_4 = 0x10101010
SPREAD = (14, 0x0000CCCC), (7, 0x00AA00AA), (2, 0x0C0C0C0C), (1, 0x22222222)


def spread_words(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The 32 bits of each word in this order."""
    return swap_bits(words, SPREAD)


def spread(v: InstructionSet) -> Part:
    """`(x)`: the same for a vector of int32."""
    return swapped(v, SPREAD)


def bits_4(v: InstructionSet) -> Part:
    """`(j, x)`: bits 4 of the j-th vector of four weights from bits in this order, each in its byte's bit 4."""
    return v.jitable(lambda j, x: (x << 4 - j if j < 4 else x >> j - 4) & BITS_4)
