"""The tokens of a vocabulary as llguidance takes them, built once for each tokenizer."""

from __future__ import annotations

from functools import cache, cached_property
from types import SimpleNamespace
from weakref import WeakKeyDictionary, proxy

from llguidance import LLTokenizer, TokenizerWrapper

from ..tokenizer import Tokenizer
from ..tokenizer.vocab import CONTROL, UNKNOWN

_TABLES: WeakKeyDictionary[Tokenizer, LLTokenizer] = WeakKeyDictionary()
END = 256  # the end token of the table of bytes


class _Words:
    """A vocabulary: the bytes of each token, which of them are not text, and how a text is written in tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokens = [tokenizer.piece(id) for id in range(tokenizer.n_vocab)]
        self.special_token_ids = tokenizer.vocab.of_type(CONTROL, UNKNOWN)
        self.eos_token_id, self.bos_token_id = min(tokenizer.stop_ids, default=0), None
        self._tokenizer = proxy(tokenizer)  # its table is kept as long as it lives, and not the other way round

    def __call__(self, text: bytes) -> list[int]:
        ids = self._tokenizer.encode(text, add_special=False, continues=True)
        return ids if b"".join(self.tokens[id] for id in ids) == text else self._longest_first(text)

    def _longest_first(self, text: bytes) -> list[int]:
        """A text in the longest tokens, for tokenizers that change some texts. What no token writes is left out."""
        ids, at, known = [], 0, self._ids
        longest = max(map(len, known), default=0)
        while at < len(text):
            end = next((end for end in range(min(len(text), at + longest), at, -1) if text[at:end] in known), None)
            ids += [] if end is None else [known[text[at:end]]]
            at = end or at + 1
        return ids

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        special = set(self.special_token_ids)
        return {piece: id for id, piece in enumerate(self.tokens) if id not in special}


def table_of(tokenizer: Tokenizer) -> LLTokenizer:
    """The table of a model's vocabulary; its end tokens are the tokenizer's."""
    table = _TABLES.get(tokenizer)
    if table is None:
        table = LLTokenizer(TokenizerWrapper(_Words(tokenizer)), eos_token=sorted(tokenizer.stop_ids) or None)
        _TABLES[tokenizer] = table
    return table


@cache
def byte_table() -> LLTokenizer:
    """A vocabulary of the 256 bytes and the end token END: grammars are checked over it without a model."""
    words = SimpleNamespace(
        tokens=[*(bytes([byte]) for byte in range(256)), b"<end>"],
        special_token_ids=[END],
        eos_token_id=END,
        bos_token_id=None,
    )
    return LLTokenizer(TokenizerWrapper(_Bytes(words)), slices=[])


class _Bytes:
    def __init__(self, words: SimpleNamespace) -> None:
        vars(self).update(vars(words))

    def __call__(self, text: bytes) -> list[int]:
        return list(text)
