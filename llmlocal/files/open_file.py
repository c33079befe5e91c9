"""What files that are open inside of a `with` block have in common."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO


class OpenFile:
    """A file at `path`, open inside of a `with` block only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    @property
    def file(self) -> BinaryIO:
        """The open file. Raises ValueError outside of the block."""
        if self._file is None:
            raise ValueError(f"{self.path} is not open")
        return self._file
