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
