"""Tokens to text while they are generated: never half a character."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Container

from .base import Tokenizer


class StreamDecoder:
    """Token ids in, text out. `push` holds back at most 3 bytes of a character that is not complete yet.

    `continues`: the text goes on where another ended, so that its first space is kept. `special` writes control tokens
    by name, `named` only those that it contains. `errors` is what becomes of bytes that are not UTF-8: lone surrogates,
    from which the bytes can be had back, or with "replace" U+FFFD, as in `Tokenizer.decode`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        continues: bool = False,
        special: bool = False,
        named: Container[int] = (),
        errors: str = "surrogateescape",
    ) -> None:
        self._tokenizer = tokenizer
        self._first = not continues
        self._special, self._named = special, named
        self._utf8 = getincrementaldecoder("utf-8")(errors)

    def push(self, id: int) -> str:
        """The text that `id` completes, perhaps empty. Raises ValueError for an id outside the vocabulary."""
        piece = self._tokenizer.visible_piece(id, first=self._first, special=self._special or id in self._named)
        if piece is None:
            return ""
        self._first = False
        return self._utf8.decode(piece)

    def flush(self) -> str:
        """What was held back; the decoder then starts a new character."""
        return self._utf8.decode(b"", final=True)
