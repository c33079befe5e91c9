"""A stream of rows under its GGUF name, as a quantizer reads it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..hf.streams import Stream
from ..quant.format import Format


@dataclass(frozen=True, slots=True)
class StreamTensor:
    """A `RowReader` over a stream; `format` holds every value of the stream exactly."""

    name: str
    format: type[Format]
    stream: Stream

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stream.shape

    def read(self, first: int, last: int) -> NDArray[np.float32]:
        """Rows first..last - 1, (last - first, k). Raises BadFileError where they hold NaN or infinity."""
        return self.stream.read(first, last).astype(np.float32, copy=False)

    @property
    def holds_blocks(self) -> bool:
        return self.stream.blocks is not None

    def blocks(self, first: int, last: int) -> NDArray[np.uint8]:
        """Rows first..last - 1 as bytes of `format`. Raises ValueError where the stream does not hold blocks."""
        if self.stream.blocks is None:
            raise ValueError("is not held in blocks")
        data: NDArray[np.uint8] = self.stream.blocks.read(first, last)
        return data
