"""Bits of words of 4 bytes in another order, by swaps.

A swap is `(distance, mask)`: every bit under the mask trades places with the one so many bits higher.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..simd.instruction_set import InstructionSet
from .parts import Part

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Swaps = tuple[tuple[int, int], ...]


def swap_bits(words: NDArray[np.uint32], swaps: Swaps) -> NDArray[np.uint32]:
    """Words after all swaps, uint32 of the same shape."""
    import numpy as np

    for distance, mask in swaps:
        moved = (words ^ words >> np.uint32(distance)) & np.uint32(mask)
        words = words ^ moved ^ moved << np.uint32(distance)
    return words


def swapped(v: InstructionSet, swaps: Swaps) -> Part:
    """`(x)`: the same for a vector of int32."""

    def swap(distance: int, mask: int) -> Part:
        def run(x):
            moved = (x ^ x >> distance) & mask
            return x ^ moved ^ moved << distance

        return run

    return v.fold_parts([swap(distance, mask) for distance, mask in swaps])
