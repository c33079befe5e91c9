"""The older binary form of importance matrices (.dat), which llama-imatrix wrote before GGUF and still can write.

Little-endian: number of weights; for each its name, the number of calls, and float32 values, which are means of squares
times calls; then, in newer files, the number of chunks and the name of the text.
"""

from __future__ import annotations

from pathlib import Path
from struct import Struct
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import BadFileError
from ..text import escaped, shown

MAX_WEIGHTS, MAX_NAME, MAX_VALUES = 1 << 18, 255, 1 << 28
I32, HEAD = Struct("<i"), Struct("<ii")


class LegacyWeight(NamedTuple):
    """Sums of squares (values,) float32 over `calls` inputs; of experts, one after another."""

    calls: int
    sums: NDArray[np.float32]


class LegacyImatrix(NamedTuple):
    """The weights by name; `chunks` is 0 and `dataset` empty where the file does not say."""

    weights: dict[str, LegacyWeight]
    chunks: int
    dataset: str


def is_legacy(path: Path) -> bool:
    """Whether a file begins like one of this form: a number of weights, and the length of a name with its text."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD.size + MAX_NAME)
    except OSError:
        return False
    if len(head) < HEAD.size or head.startswith(b"GGUF"):
        return False
    count, length = HEAD.unpack_from(head)
    name = head[HEAD.size : HEAD.size + length]
    return 0 < count <= MAX_WEIGHTS and 0 < length <= MAX_NAME and name.isascii() and name.decode("ascii").isprintable()


def read_legacy(path: Path) -> LegacyImatrix:
    """Raises BadFileError for a truncated file, sizes that cannot be, NaN and infinity."""
    try:
        with open(path, "rb") as file:
            return _Reader(file, path).read()
    except OSError as error:
        raise BadFileError(f"{escaped(str(path))}: cannot be read: {error.strerror}") from None


class _Reader:
    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._where = file, escaped(str(path))
        self._left = path.stat().st_size

    def read(self) -> LegacyImatrix:
        weights: dict[str, LegacyWeight] = {}
        for _ in range(self._integer(MAX_WEIGHTS)):
            name = self._text(self._integer(MAX_NAME))
            calls, n = self._integer(), self._integer(MAX_VALUES)
            sums = np.frombuffer(self._bytes(4 * n), "<f4")
            if not n or not np.isfinite(sums).all():
                raise self._fail(f"{shown(name)} has no values, NaN or infinity")
            weights[name] = LegacyWeight(max(calls, 1), sums)
        chunks = max(self._integer(), 0) if self._left else 0
        return LegacyImatrix(weights, chunks, self._text(self._integer(self._left)) if self._left else "")

    def _integer(self, most: int | None = None) -> int:
        (value,) = I32.unpack(self._bytes(I32.size))
        if most is not None and not 0 <= value <= most:
            raise self._fail(f"a size of {value}")
        return int(value)

    def _text(self, length: int) -> str:
        return self._bytes(length).decode("utf-8", "replace")

    def _bytes(self, count: int) -> bytes:
        if count > self._left:
            raise self._fail("truncated")
        self._left -= count
        return self._file.read(count)

    def _fail(self, what: str) -> BadFileError:
        return BadFileError(f"{self._where}: not a valid importance matrix: {what}", "make it again")
