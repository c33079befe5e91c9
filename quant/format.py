"""What a block format is: its name, GGUF id, block size and bytes. Imports neither NumPy nor Numba.

A format is one subclass in one file of `formats/`; writing that file registers it, and nothing else is edited.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Activations = Literal["q8", "f32"] | None

BY_ID: dict[int, type[Format]] = {}
BY_NAME: dict[str, type[Format]] = {}


class Format:
    """A way to store rows of numbers in blocks of `block` values and `nbytes` bytes.

    Subclasses say `class Q4_0(Format, id=2, block=32, nbytes=18)`; the class name is GGUF's name of the type.
    `activations` is what products with it read: Q8 records, or float32; nothing where it is only stored.
    """

    name: ClassVar[str]
    id: ClassVar[int]
    block: ClassVar[int]
    nbytes: ClassVar[int]
    activations: ClassVar[Activations]

    def __init_subclass__(cls, *, id: int, block: int, nbytes: int, activations: Activations = "q8") -> None:
        cls.name, cls.id, cls.block, cls.nbytes, cls.activations = cls.__name__, id, block, nbytes, activations
        BY_ID[id] = BY_NAME[cls.name] = cls

    @classmethod
    def row_bytes(cls, k: int) -> int:
        """Bytes of a row of `k` values. Raises ValueError where `k` is no multiple of the block."""
        if k % cls.block:
            raise ValueError(f"row of {k} is not a multiple of {cls.block} ({cls.name})")
        return k // cls.block * cls.nbytes

    @classmethod
    def dequantize(cls, data: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Rows of bytes (..., row_bytes) uint8 -> values (..., k) float32, bit-equal to `gguf.quants`."""
        raise NotImplementedError

    @classmethod
    def quantize(cls, values: NDArray[np.float32], importance: NDArray[np.float32] | None = None) -> NDArray[np.uint8]:
        """Values (..., k) float32 -> rows of bytes (..., row_bytes) uint8. Raises ValueError for NaN or infinity.

        `importance`, (..., k) or (k,) float32, says how much the error of each column counts, where the format can
        make use of it.
        """
        raise NotImplementedError

    @classmethod
    def kernels(cls, v: Any) -> Any:
        """The format's SIMD parts in the words of the instruction set `v` (see `matmul`)."""
        raise NotImplementedError

    @classmethod
    def encoders(cls, v: Any) -> Any:
        """The format's SIMD quantizers (see `encode`); none where only `quantize` is there."""
        return None


def load_all() -> None:
    """Import every file of `formats/`, so that the registries are complete."""
    from . import formats

    for module in iter_modules(formats.__path__):
        import_module(f"{formats.__name__}.{module.name}")
