"""Tokens by id, as the tokenizer files of a Hugging Face folder list them one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import BadFileError
from ..gguf.values import ValueType
from ..hf.config import Keys, Settings
from ..hf.folder import Folder
from ..text import escaped, shown
from ..tokenizer.vocab import CONTROL, UNUSED, USER_DEFINED

SPACE = "▁"
ADDED_SCORE, PAD_SCORE = -1000.0, -10000.0
MAX_TOKENS = 1 << 24


@dataclass
class Table:
    """Tokens by id as (text, GGUF's token type, score)."""

    where: str
    size: int
    tokens: dict[int, tuple[str, int, float]] = field(default_factory=dict)

    def put(self, id: Any, text: Any, type: int, score: float = 0.0) -> None:
        """Set the token of an id; ids beyond the size are ignored. Raises BadFileError for a bad id or text."""
        if isinstance(id, bool) or not isinstance(id, int) or id < 0 or not isinstance(text, str):
            raise BadFileError(f"{self.where}: {shown(repr(text))} with id {id!r:.40} is not a token")
        if id < self.size:
            self.tokens[id] = (text, type, score)

    @property
    def ids(self) -> dict[str, int]:
        """Ids by text."""
        return {text: id for id, (text, _, _) in self.tokens.items()}

    def keys(self, *, scores: bool) -> Keys:
        """The keys `tokens`, `token_type` and, if `scores`, `scores`."""
        rows = [self.tokens.get(i, (f"[PAD{i}]", UNUSED, PAD_SCORE)) for i in range(self.size)]
        keys = {
            "tokenizer.ggml.tokens": (ValueType.STRING, [text for text, _, _ in rows]),
            "tokenizer.ggml.token_type": (ValueType.I32, [type for _, type, _ in rows]),
        }
        return keys | ({"tokenizer.ggml.scores": (ValueType.F32, [score for _, _, score in rows])} if scores else {})


def put_added(table: Table, id: Any, text: Any, special: bool) -> None:
    """Put a token that was added to a vocabulary: a control token or a user-defined one."""
    if isinstance(text, str) and not (special or looks_special(text)):
        table.put(id, text.replace(SPACE, " "), USER_DEFINED, ADDED_SCORE)
    else:
        table.put(id, text, CONTROL, ADDED_SCORE)


def looks_special(text: str) -> bool:
    """Whether a token's text has the form of a special token (the rule of llama.cpp's converter)."""
    around = (("<|", "|>"), ("<｜", "｜>"), ("<unused", ">"))
    named = text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
    return named or any(text.startswith(first) and text.endswith(last) for first, last in around)


def decoder_tokens(folder: Folder) -> Iterator[tuple[Any, Any, bool]]:
    """(id, text, special) of the tokens that tokenizer_config.json lists."""
    decoder = folder.json("tokenizer_config.json").get("added_tokens_decoder")
    for id, token in decoder.items() if isinstance(decoder, dict) else ():
        if not id.isdecimal() or len(id) > 9 or not isinstance(token, Mapping):
            raise BadFileError(f"{where_of(folder, 'tokenizer_config.json')}: added token {shown(id)} has no id")
        yield int(id), token.get("content"), token.get("special") is True


def size_of(s: Settings, tokens: int) -> int:
    """Tokens of the vocabulary: vocab_size of config.json, else as many as there are. Raises BadFileError."""
    size = s.integer("vocab_size", default=tokens) or tokens
    if size > MAX_TOKENS:
        raise s.fail(f"vocab_size is {size}, at most {MAX_TOKENS}")
    return size


def where_of(folder: Folder, name: str) -> str:
    """A file of a folder, for messages."""
    return escaped(str(folder.path / name))
