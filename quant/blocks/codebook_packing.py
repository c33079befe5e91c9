"""What a codebook search has found, as the bit fields of blocks: in NumPy, and functions for kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..scale_search.codebook import INDICES, MARKS, CodebookBlocks
from ..scale_search.search import SCALE_BYTES
from ..simd.instruction_set import InstructionSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def packed_bits(values: NDArray[np.integer], bits: int, word: str) -> NDArray[np.uint8]:
    """Numbers of `bits` bits (..., n), the first one lowest, as one integer of NumPy's type `word`: its bytes."""
    import numpy as np

    shifts = np.arange(values.shape[-1], dtype=word) * np.dtype(word).type(bits)
    joined: NDArray[np.uint8] = np.bitwise_or.reduce(values.astype(word) << shifts, axis=-1)[..., None].view(np.uint8)
    return joined


def sign_words(found: CodebookBlocks) -> NDArray[np.uint32]:
    """For each group of 32 values, four patterns of 7 signs and the number of its scale above them: (n, 8)."""
    import numpy as np

    patterns = packed_bits(found.marks.reshape(-1, 8, 4) & np.uint8(127), 7, "u4").view(np.uint32)[..., 0]
    words: NDArray[np.uint32] = patterns | found.scale.astype(np.uint32) << np.uint32(28)
    return words


def low_bytes(v: InstructionSet) -> Any:
    """`(out, levels, count)`: the low bytes of `count` indices, a multiple of 32."""
    i16x32 = v.Vec("i16", 32)

    def put(out, levels, count):
        for i in range(0, count, 32):
            v.store(out + i, v.truncate(v.i8x32, v.load(i16x32, levels + INDICES + 2 * i)))

    return v.jitable(put)


def copy_marks(v: InstructionSet) -> Any:
    """`(out, levels)`: the marks of a block, 32 bytes."""
    return v.jitable(lambda out, levels: v.store(out, v.load(v.i8x32, levels + MARKS)))


def high_bits(v: InstructionSet, bits: int) -> Any:
    """`(levels, first, count)`: what is above the low bytes of `count` indices, `bits` each, the first one lowest."""

    def joined(levels, first, count):
        word = v.int64(0)
        for i in range(count):
            word |= v.load_u16(levels + INDICES + 2 * (first + i)) >> 8 << bits * i
        return word

    return v.jitable(joined)


def mark_bits(v: InstructionSet, bits: int, step: int) -> Any:
    """`(levels, first, count)`: the low `bits` bits of `count` marks, every `step` bits one, the first one lowest."""
    low = (1 << bits) - 1

    def joined(levels, first, count):
        word = v.int64(0)
        for i in range(count):
            word |= (v.load_i8(levels + MARKS + first + i) & low) << step * i
        return word

    return v.jitable(joined)


def scale_bits(v: InstructionSet, bits: int) -> Any:
    """`(scratch, group, count)`: the numbers of `count` scales, `bits` bits each, the first one lowest."""

    def joined(scratch, group, count):
        word = v.int64(0)
        for i in range(count):
            word |= v.int64(v.load_i8(scratch + SCALE_BYTES + group + i)) << bits * i
        return word

    return v.jitable(joined)
