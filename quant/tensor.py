"""A named block-quantized tensor over memory that something else owns: a view, nothing is copied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .format import Format

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class QTensor:
    """`data` holds `shape` values in `format`; the last dimension is the one that is split into blocks.

    `shape` is in NumPy's order, the reverse of GGUF's: a matrix is `(rows, k)`.
    """

    name: str
    format: type[Format]
    shape: tuple[int, ...]
    data: memoryview
    interleaved: bool = False  # rows lie in tiles (see `kernels.interleave`), for matrix products only

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    @property
    def rows(self) -> int:
        """Product of all dimensions but the last."""
        count = 1
        for n in self.shape[:-1]:
            count *= n
        return count

    @property
    def k(self) -> int:
        return self.shape[-1]

    def part(self, first: int, last: int) -> QTensor:
        """Rows `first` to `last` (without it) of a matrix, or values of a vector, over the same memory."""
        inner = self.shape[1:]
        each = self.format.row_bytes(*inner or (1,))
        return QTensor(self.name, self.format, (last - first, *inner), self.data[first * each : last * each])

    def as_row(self) -> QTensor:
        """A vector (k,) as a matrix of one row, (1, k)."""
        return QTensor(self.name, self.format, (1, self.k), self.data)

    def bytes_array(self) -> NDArray[np.uint8]:
        """The raw blocks, (rows, row_bytes) uint8, a view."""
        import numpy as np

        return np.frombuffer(self.data, np.uint8).reshape(self.rows, self.format.row_bytes(self.k))

    def dequantize(self) -> NDArray[np.float32]:
        """All values, `shape` float32, a fresh array."""
        return self.format.dequantize(self.bytes_array()).reshape(self.shape)

    @property
    def address(self) -> int:
        """Address of the first byte; valid while `data` lives."""
        return int(self.bytes_array().ctypes.data)
