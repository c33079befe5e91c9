"""The levels of Q2_0 for tiles: the 16 levels of a word of 4 bytes, a square of four by four, change places.

In the file a byte holds four weights that follow each other. Turned over, byte i of a word holds the i-th of each four,
so that a vector of four weights takes a shift and a mask, not a byte spread over a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..simd.instruction_set import InstructionSet
from .bit_swaps import swap_bits, swapped
from .parts import Part

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEVELS = 0x03030303
TURN = (6, 0x00CC00CC), (12, 0x0000F0F0)


def turn_words(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Words of 16 levels with the square in each turned over; twice gives the first again."""
    return swap_bits(words, TURN)


def turned(v: InstructionSet) -> Part:
    """`(x)`: the same for a vector of int32."""
    return swapped(v, TURN)


def eight_vectors(v: InstructionSet) -> Part:
    """`(low, high)`: two words of LANES rows, turned over, as 8 vectors of bytes (lane = row)."""
    return v.unroll_map(8, lambda j, low, high: v.bitcast(v.i8, (high if j > 3 else low) >> 2 * (j % 4) & LEVELS))
