"""I8, I16, I32, I64, F64: one plain little-endian number per value, stored in some files and never multiplied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..format import Format

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _numbers(blocks: NDArray[np.uint8], dtype: str) -> NDArray[np.float32]:
    import numpy as np

    return blocks.view(dtype).astype(np.float32)


class I8(Format, id=24, block=1, nbytes=1, activations=None):
    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        return _numbers(blocks, "<i1")


class I16(Format, id=25, block=1, nbytes=2, activations=None):
    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        return _numbers(blocks, "<i2")


class I32(Format, id=26, block=1, nbytes=4, activations=None):
    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        return _numbers(blocks, "<i4")


class I64(Format, id=27, block=1, nbytes=8, activations=None):
    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        return _numbers(blocks, "<i8")


class F64(Format, id=28, block=1, nbytes=8, activations=None):
    @staticmethod
    def dequantize_blocks(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        return _numbers(blocks, "<f8")
