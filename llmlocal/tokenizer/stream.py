"""Tokens to output while they are made: never half a character. Knows no terminal and no model."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Container

from .base import Tokenizer


class TextStreamDecoder:
    """Ids in, text out, for terminals: bytes that are no UTF-8 show as U+FFFD, as in `Tokenizer.decode`.

    `continues` says that the answer goes on in the middle of a text, whose next space must be kept. `special` shows
    control tokens by name, `named` those among them that it holds.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, continues: bool = False, special: bool = False, named: Container[int] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._first = not continues
        self._special, self._named = special, named
        self._utf8 = getincrementaldecoder("utf-8")(self._errors)

    _errors = "replace"

    def push(self, id: int) -> str:
        """The text that `id` completes, perhaps empty. Raises ValueError for an id outside the vocabulary."""
        piece = self._tokenizer.shown(id, first=self._first, special=self._special or id in self._named)
        if piece is None:
            return ""
        self._first = False
        return self._utf8.decode(piece)

    def flush(self) -> str:
        """What was held back; the decoder then starts a new character."""
        return self._utf8.decode(b"", final=True)


class _EscapingStreamDecoder(TextStreamDecoder):
    _errors = "surrogateescape"


class StreamDecoder:
    """Ids in, bytes out, for pipes: `push` holds back at most 3 bytes of a character that is not complete yet.

    Takes the arguments of `TextStreamDecoder`. Bytes that are no UTF-8 pass unchanged.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, continues: bool = False, special: bool = False, named: Container[int] = ()
    ) -> None:
        self._text = _EscapingStreamDecoder(tokenizer, continues=continues, special=special, named=named)

    def push(self, id: int) -> bytes:
        """The bytes that `id` completes, perhaps none. Raises ValueError for an id outside the vocabulary."""
        return self._text.push(id).encode("utf-8", "surrogateescape")

    def flush(self) -> bytes:
        """What was held back; the decoder then starts a new character."""
        return self._text.flush().encode("utf-8", "surrogateescape")
