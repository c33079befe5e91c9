"""How a model's vocabulary spells a text, for people who want to see it. Needs no weights, NumPy or kernel."""

from __future__ import annotations

from pathlib import Path

from .. import tokenizer as tokenizers
from ..errors import UsageError
from ..gguf import open_gguf
from ..tokenizer import Tokenizer


class Tokenization:
    """A tokenizer at work. `special`: BOS and EOS are added, and names of special tokens mean those tokens."""

    def __init__(self, tokenizer: Tokenizer, *, special: bool = True) -> None:
        self.tokenizer, self.special = tokenizer, special

    @classmethod
    def open(cls, path: Path | str, *, special: bool = True) -> Tokenization:
        """Raises NotFoundError, and BadFileError for a file without a usable vocabulary."""
        with open_gguf(path) as gguf:
            return cls(tokenizers.load(gguf.metadata), special=special)

    def encode(self, text: str | bytes) -> list[tuple[int, bytes]]:
        """Every token's id and the bytes that it stands for."""
        ids = self.tokenizer.encode(text, add_special=self.special, parse_special=self.special)
        return [(id, self.tokenizer.piece(id)) for id in ids]

    def decode(self, text: bytes) -> bytes:
        """The text of ids that stand between blanks or commas, as `encode` had it: without the BOS and EOS it adds.

        Without `special`, control tokens are left out. Raises UsageError for what is no id of this vocabulary.
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
            raise UsageError(f"{text[:40]} is no token id: ids are 0 to {n - 1}")
        return int(text)
