"""What the IQ2 and IQ3 formats share: 256 values in groups, y of vectors in a codebook, with a sign for each value."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..simd.instruction_set import InstructionSet
from .codebook_parts import signed_parts
from .codebooks import codebook, signs
from .parts import IntegerParts, Part

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SignedVectors:
    """A base beside `Format` for blocks that begin with float16 d: x = d * scale * y. A subclass gives the layout."""

    name: ClassVar[str]
    groups: ClassVar[int] = 8
    bits: ClassVar[int] = 6  # of the greatest magnitude in the codebook

    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        """The parts from `fields`."""
        return signed_parts(v, codebook(cls.name), cls.bits, *cls.fields(v), scales=cls.groups // 8)

    @classmethod
    def dequantize_blocks(cls, blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `Format.dequantize_blocks`."""
        index, factor, bits = cls.unpack(blocks)
        values = codebook(cls.name)[index].reshape(len(blocks), cls.groups, -1) * factor[..., None]
        out: NDArray[np.float32] = values.reshape(-1, 32, 8) * signs(bits.reshape(-1, 32))
        return out.reshape(-1, 256)

    @staticmethod
    def fields(v: InstructionSet) -> tuple[Part, Part]:
        """`prepare` and `columns` of `IntegerParts`, the former as `codebook_parts` wants it."""
        raise NotImplementedError

    @staticmethod
    def unpack(blocks: NDArray[np.uint8]) -> tuple[NDArray[np.integer], NDArray[np.float32], NDArray[np.uint8]]:
        """Indices of vectors (n, vectors), d times scale (n, groups), sign bits of eight values each (n, 32)."""
        raise NotImplementedError
