"""What models that read whole texts share: what is open, and texts in groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Self, TypeVar

from ..encoder import Encoder
from ..gguf import GGUFFile
from ..runtime.packed_texts import BATCH_TOKENS
from ..tokenizer import Tokenizer

T = TypeVar("T")


class TextModel:
    """An open model; `cut` counts the texts that were cut. Close it, or use it as a context manager."""

    def __init__(self, gguf: GGUFFile, tokenizer: Tokenizer, encoder: Encoder) -> None:
        self.gguf, self.tokenizer, self.encoder, self.cut = gguf, tokenizer, encoder, 0

    def close(self) -> None:
        """End the threads and unmap the file."""
        self.encoder.close()
        self.gguf.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def grouped(items: Iterable[T], tokens: Callable[[T], int]) -> Iterator[list[T]]:
    """Consecutive items, in groups of at most BATCH_TOKENS tokens, or of one longer item; read as they are needed."""
    group: list[T] = []
    held = 0
    for item in items:
        n = tokens(item)
        if group and held + n > BATCH_TOKENS:
            yield group
            group, held = [], 0
        group.append(item)
        held += n
    if group:
        yield group
