"""Shows how a model's tokenizer splits a text; needs no weights, NumPy or kernels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from .. import tokenizer as tokenizers
from ..errors import UsageError
from ..gguf.model_file import open_model
from ..tokenizer import Tokenizer


class Tokenization:
    """Encodes and decodes text to show. `special`: adds BOS and EOS, and parses special tokens by name."""

    def __init__(self, tokenizer: Tokenizer, *, special: bool = True) -> None:
        self.tokenizer, self.special = tokenizer, special
        self._seen: set[int] = set()  # bytes of what was encoded

    @classmethod
    def open(cls, path: Path | str, *, special: bool = True) -> Tokenization:
        """Load the tokenizer of a file. Raises NotFoundError, or BadFileError where it has no usable vocabulary."""
        with open_model(path) as gguf:
            return cls(tokenizers.load(gguf.metadata), special=special)

    def encode(self, text: str | bytes) -> list[tuple[int, bytes]]:
        """(Id, bytes) of every token."""
        return list(self.encode_pieces([text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text]))

    def encode_pieces(self, pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """As `encode`, for a text in pieces: tokens come as soon as they are certain."""
        seen = self._seen_in(pieces)
        for ids in self.tokenizer.encode_pieces(seen, add_special=self.special, parse_special=self.special):
            yield from ((id, self.tokenizer.piece(id)) for id in ids)

    @property
    def notes(self) -> list[str]:
        """What of the texts that were encoded is in none of their tokens."""
        return self.tokenizer.lost_in(self._seen)

    def _seen_in(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._seen |= set(piece)
            yield piece

    def decode(self, text: bytes) -> bytes:
        """The text of ids separated by whitespace or commas, without the BOS and EOS that `encode` adds.

        Without `special`, control tokens are left out. Raises UsageError for an invalid id.
        """
        ids = [self._id(word) for word in text.replace(b",", b" ").split()]
        before, after = self.tokenizer.vocab.prefix_and_suffix() if self.special else ([], [])
        if before and ids[: len(before)] == before:
            ids = ids[len(before) :]
        if after and ids[-len(after) :] == after:
            ids = ids[: -len(after)]
        return self.tokenizer.decode_bytes(ids, special=self.special)

    def _id(self, word: bytes) -> int:
        text, n = word.decode("utf-8", "backslashreplace"), self.tokenizer.n_vocab
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) < n):
            raise UsageError(f"invalid token id {text[:40]}: ids are 0 to {n - 1}")
        return int(text)
