"""I8, I16, I32, I64, F64: one plain little-endian number per value, stored in some files and never multiplied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks import decode
from ..format import Format

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class I8(Format, id=24, block=1, nbytes=1, activations=None):
    @classmethod
    def dequantize(cls, data: NDArray[np.uint8]) -> NDArray[np.float32]:
        return decode(cls, lambda blocks: _numbers(blocks, "<i1"), data)


class I16(Format, id=25, block=1, nbytes=2, activations=None):
    @classmethod
    def dequantize(cls, data: NDArray[np.uint8]) -> NDArray[np.float32]:
        return decode(cls, lambda blocks: _numbers(blocks, "<i2"), data)


class I32(Format, id=26, block=1, nbytes=4, activations=None):
    @classmethod
    def dequantize(cls, data: NDArray[np.uint8]) -> NDArray[np.float32]:
        return decode(cls, lambda blocks: _numbers(blocks, "<i4"), data)


class I64(Format, id=27, block=1, nbytes=8, activations=None):
    @classmethod
    def dequantize(cls, data: NDArray[np.uint8]) -> NDArray[np.float32]:
        return decode(cls, lambda blocks: _numbers(blocks, "<i8"), data)


class F64(Format, id=28, block=1, nbytes=8, activations=None):
    @classmethod
    def dequantize(cls, data: NDArray[np.uint8]) -> NDArray[np.float32]:
        return decode(cls, lambda blocks: _numbers(blocks, "<f8"), data)


def _numbers(blocks: NDArray[np.uint8], kind: str) -> NDArray[np.float32]:
    import numpy as np

    return blocks.view(kind).astype(np.float32)
