"""What the IQ2 and IQ3 formats share: 256 values in groups, y of vectors in a codebook, with a sign for each value."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal

from ..scale_search.codebook import Codebook, CodebookBlocks, codebook_blocks
from ..scale_search.nearest_vector import Book
from ..simd.instruction_set import InstructionSet
from .codebook_parts import signed_parts
from .codebooks import codebook, signs
from .parts import IntegerParts, Part, QuantizeParts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SignedVectors:
    """A base beside `Format` for blocks that begin with float16 d: x = d * scale * y. A subclass gives the layout."""

    name: ClassVar[str]
    groups: ClassVar[int] = 8
    bits: ClassVar[int] = 6  # of the greatest magnitude in the codebook
    unit: ClassVar[float]  # scale is this times an odd number
    signs: ClassVar[Literal["any", "even"]] = "even"  # even: seven bits for eight signs (see `codebooks`)

    @classmethod
    def kernels(cls, v: InstructionSet) -> IntegerParts:
        """The parts from `fields`."""
        return signed_parts(v, codebook(cls.name), cls.bits, *cls.fields(v), scales=cls.groups // 8)

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> QuantizeParts:
        """The search of the format, and `pack`."""
        return QuantizeParts(search=cls.search(), pack=cls.pack(v))

    @classmethod
    @cache
    def search(cls) -> Codebook:
        """How blocks are quantized."""
        return Codebook(Book(codebook(cls.name)), 256 // cls.groups, cls.groups, 15, cls.unit, cls.signs)

    @classmethod
    def dequantize_blocks(cls, blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `Format.dequantize_blocks`."""
        index, factor, bits = cls.unpack(blocks)
        values = codebook(cls.name)[index].reshape(len(blocks), cls.groups, -1) * factor[..., None]
        out: NDArray[np.float32] = values.reshape(-1, 32, 8) * signs(bits.reshape(-1, 32))
        return out.reshape(-1, 256)

    @classmethod
    def quantize_blocks(cls, x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        """As `Format.quantize_blocks`."""
        return cls.pack_blocks(codebook_blocks(x, importance, cls.search()))

    @staticmethod
    def fields(v: InstructionSet) -> tuple[Part, Part]:
        """`prepare` and `columns` of `IntegerParts`, the former as `codebook_parts` wants it."""
        raise NotImplementedError

    @staticmethod
    def pack(v: InstructionSet) -> Part:
        """`pack` of `QuantizeParts`."""
        raise NotImplementedError

    @staticmethod
    def unpack(blocks: NDArray[np.uint8]) -> tuple[NDArray[np.integer], NDArray[np.float32], NDArray[np.uint8]]:
        """Indices of vectors (n, vectors), d times scale (n, groups), sign bits of eight values each (n, 32)."""
        raise NotImplementedError

    @staticmethod
    def pack_blocks(found: CodebookBlocks) -> NDArray[np.uint8]:
        """The bytes of blocks (n, nbytes) from what a search has found."""
        raise NotImplementedError
