"""What a block format is: its name, GGUF id, block size and bytes. Imports neither NumPy nor Numba.

A format is one subclass in one file of `formats/`; writing that file registers it, and nothing else is edited.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .simd.instruction_set import InstructionSet

Activations = Literal["q8", "f32"] | None

CHUNK = 1 << 16  # values converted at a time: the temporaries stay in the second-level cache

BY_ID: dict[int, type[Format]] = {}
BY_NAME: dict[str, type[Format]] = {}


class Format:
    """A way to store rows of numbers in blocks of `block` values and `nbytes` bytes.

    Subclasses say `class Q4_0(Format, id=2, block=32, nbytes=18)`; the class name is GGUF's name of the type.
    `activations` is what products with it read: Q8 records, or float32; None where it is only stored.
    Formats with TileParts can be interleaved: `short_units` is offset and size of the numbers in a block that take less
    than 4 bytes, in the order of `rearrange_blocks`; None for the others. `needs_importance`: without an importance
    matrix too much is lost.
    """

    name: ClassVar[str]
    id: ClassVar[int]
    block: ClassVar[int]
    nbytes: ClassVar[int]
    activations: ClassVar[Activations]
    short_units: ClassVar[Mapping[int, int] | None]
    needs_importance: ClassVar[bool] = False

    def __init_subclass__(
        cls,
        *,
        id: int,
        block: int,
        nbytes: int,
        activations: Activations = "q8",
        short_units: Mapping[int, int] | None = None,
    ) -> None:
        cls.name, cls.id, cls.block, cls.nbytes = cls.__name__, id, block, nbytes
        cls.activations, cls.short_units = activations, short_units
        BY_ID[id] = BY_NAME[cls.name] = cls

    @classmethod
    def row_bytes(cls, k: int) -> int:
        """Bytes of a row of `k` values. Raises ValueError where `k` is not a multiple of the block."""
        if k % cls.block:
            raise ValueError(f"row of {k} is not a multiple of {cls.block} ({cls.name})")
        return k // cls.block * cls.nbytes

    @classmethod
    def dequantize(cls, data: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Rows of bytes (..., row_bytes) -> fresh values (..., k) float32, bit-equal to `gguf.quants`.

        Raises ValueError where a row ends within a block.
        """
        import numpy as np

        width, rest = divmod(data.shape[-1], cls.nbytes)
        if rest:
            raise ValueError(f"row of {data.shape[-1]} bytes is not a multiple of {cls.nbytes} ({cls.name})")
        blocks = np.ascontiguousarray(data, np.uint8).reshape(-1, cls.nbytes)
        values = np.empty((len(blocks), cls.block), np.float32)
        with np.errstate(all="ignore"):  # damaged files hold infinite and NaN scales: they stay visible in the values
            for part in cls._chunks(len(blocks)):
                values[part] = cls.dequantize_blocks(blocks[part])
        return values.reshape(*data.shape[:-1], width * cls.block)

    @classmethod
    def quantize(cls, values: NDArray[np.float32], importance: NDArray[np.float32] | None = None) -> NDArray[np.uint8]:
        """Values (..., k) float32 -> fresh rows of bytes (..., row_bytes) uint8.

        `importance`, (..., k) or (k,) float32, says how much the error of each column counts, where the format can
        make use of it. A finite value beyond the format's range becomes infinite, as in GGUF's reference. Raises
        ValueError for NaN, for infinity, and where `k` is not a multiple of the block.
        """
        import numpy as np

        row_bytes = cls.row_bytes(values.shape[-1])
        blocks = np.ascontiguousarray(values, np.float32).reshape(-1, cls.block)
        if importance is not None:
            importance = np.broadcast_to(importance, values.shape).reshape(-1, cls.block)
        data = np.empty((len(blocks), cls.nbytes), np.uint8)
        with np.errstate(all="ignore"):  # a scale may overflow or vanish as float16, its inverse may be infinite
            for part in cls._chunks(len(blocks)):
                if not np.isfinite(blocks[part]).all():
                    raise ValueError(f"NaN or infinity cannot be quantized to {cls.name}")
                data[part] = cls.quantize_blocks(blocks[part], None if importance is None else importance[part])
        return data.reshape(*values.shape[:-1], row_bytes)

    @classmethod
    def _chunks(cls, n_blocks: int) -> list[slice]:
        size = CHUNK // cls.block
        return [slice(i, i + size) for i in range(0, n_blocks, size)]

    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Blocks (n, nbytes) uint8 -> values (n, block) float32."""
        raise NotImplementedError

    @staticmethod
    def quantize_blocks(x: NDArray[np.float32], importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        """Finite values (n, block) float32 and their importance, of the same shape -> blocks (n, nbytes) uint8."""
        raise NotImplementedError

    @staticmethod
    def rearrange_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Blocks (n, nbytes) uint8 -> the bits in the order that interleaved rows have, as a rule the file's."""
        return blocks

    @classmethod
    def offers(cls, method: str) -> bool:
        """Whether the format has a method of its own of this name."""
        return any(method in vars(base) for base in cls.__mro__ if base not in (Format, object))

    @classmethod
    def kernels(cls, v: InstructionSet) -> Any:
        """The format's SIMD parts for the instruction set `v` (see `blocks.parts`)."""
        raise NotImplementedError

    @classmethod
    def quantize_parts(cls, v: InstructionSet) -> Any:
        """The format's SIMD quantizers (see `kernels.quantize_kernel`); none where only `quantize` is there."""
        return None
