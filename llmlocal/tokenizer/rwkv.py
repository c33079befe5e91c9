"""`rwkv`: greedy longest match over bytes. Tokens may be any bytes, written with escapes in GGUF."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .base import Tokenizer
from .prefixes import Prefixes
from .vocab import CONTROL, UNKNOWN

_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_NAMED = {b"t": b"\t", b"n": b"\n", b"r": b"\r"}


class Rwkv(Tokenizer, kinds=("rwkv",)):
    """The tokenizer of RWKV, see the module."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        super().__init__(metadata)
        self._pieces = [unescaped(text) for text in self.vocab.tokens]
        special = set(self.vocab.of_type(UNKNOWN, CONTROL))
        self._tokens = Prefixes({text: id for id, text in enumerate(self._pieces) if text and id not in special})

    def encode_part(self, text: str, after_special: bool) -> list[int]:
        data = text.encode("utf-8", "surrogateescape")
        unknown = self.vocab.unknown
        ids, at = [], 0
        while at < len(data):
            found = self._tokens.longest(data, at)
            at, id = found if found is not None else (at + 1, unknown)
            if id is not None:
                ids.append(id)
        return ids

    def piece(self, id: int) -> bytes:
        self.token_text(id)
        return self._pieces[id]


def unescaped(text: str) -> bytes:
    """The bytes of a token in the file, with escapes such as `\\n` and `\\x1f` decoded."""

    def undo(found: re.Match[bytes]) -> bytes:
        return bytes.fromhex(found[1].decode()) if found[1] else _NAMED.get(found[2], found[2])

    return _ESCAPE.sub(undo, text.encode("utf-8", "surrogateescape"))
