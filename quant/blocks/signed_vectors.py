"""What the IQ2 and IQ3 formats share: 256 values in groups, y of vectors in a codebook, with a sign for each value."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..simd.instruction_set import InstructionSet
from .codebooks import apply_signs, codebook, signs, vectors
from .parts import DecodedParts, Part

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SignedVectors:
    """A base beside `Format` for blocks that begin with float16 d: x = d * scale * y. A subclass gives the layout."""

    name: ClassVar[str]
    groups: ClassVar[int] = 8

    @classmethod
    def kernels(cls, v: InstructionSet) -> DecodedParts:
        """The parts from `group_decoder`."""
        groups, group = cls.groups, v.jitable(cls.group_decoder(v, vectors(v, cls.name), *apply_signs(v)))

        def decode(p, out):
            d = v.load_f16(p)
            for g in range(groups):
                group(p, d, g, out)

        return DecodedParts(decode)

    @classmethod
    def dequantize_blocks(cls, blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `Format.dequantize_blocks`."""
        index, factor, bits = cls.unpack(blocks)
        values = codebook(cls.name)[index].reshape(len(blocks), cls.groups, -1) * factor[..., None]
        out: NDArray[np.float32] = values.reshape(-1, 32, 8) * signs(bits.reshape(-1, 32))
        return out.reshape(-1, 256)

    @staticmethod
    def group_decoder(v: InstructionSet, vector: Part, with_signs: Part, with_seven: Part) -> Part:
        """`(p, d, g, out)`: group g of the block at `p` as float32 into the block at `out`.

        The others are parts of `codebooks`: `vectors`, and both of `apply_signs`.
        """
        raise NotImplementedError

    @staticmethod
    def unpack(blocks: NDArray[np.uint8]) -> tuple[NDArray[np.integer], NDArray[np.float32], NDArray[np.uint8]]:
        """Indices of vectors (n, vectors), d times scale (n, groups), sign bits of eight values each (n, 32)."""
        raise NotImplementedError
