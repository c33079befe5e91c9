"""I8, I16, I32, I64, F64: one plain little-endian number per value, stored in some files and never multiplied."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..format import Format

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Numbers:
    """The NumPy side of a format of plain numbers."""

    dtype: ClassVar[str]

    @classmethod
    def dequantize_blocks(cls, blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        return blocks.view(cls.dtype).astype(np.float32)


class I8(Numbers, Format, id=24, block=1, nbytes=1, activations=None):
    dtype = "<i1"


class I16(Numbers, Format, id=25, block=1, nbytes=2, activations=None):
    dtype = "<i2"


class I32(Numbers, Format, id=26, block=1, nbytes=4, activations=None):
    dtype = "<i4"


class I64(Numbers, Format, id=27, block=1, nbytes=8, activations=None):
    dtype = "<i8"


class F64(Numbers, Format, id=28, block=1, nbytes=8, activations=None):
    dtype = "<f8"
