"""`gpt2`: byte pair encoding of words, which a pre-tokenizer splits; `gemma4`: the same with `▁` for a space.

In most files tokens are byte-level: 256 printable characters stand for the 256 bytes. Merges never form control,
unknown or byte tokens (llama.cpp's may), so user text cannot become a special token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import repeat
from operator import contains
from typing import Any

from ..errors import BadFileError
from .base import Tokenizer, WordCache
from .merges import RankedMerges
from .pretokenizers import BY_NAME, MISSING
from .splitter import Splitter
from .spm import WORD
from .unicode_classes import BLANKS, lower
from .vocab import BYTE, CONTROL, NORMAL, SPACE, UNKNOWN, Conventions, flag, string_array

NO_MERGES = frozenset(("kimi-k2",))  # files with these pre-tokenizers may lack merges
_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))


def _signs() -> str:
    """GPT-2's character for each byte: itself where Latin-1 can print it, otherwise the next one from U+0100 on."""
    spare = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in _PRINTABLE else next(spare)) for byte in range(256))


SIGNS = _signs()
BYTES_OF = {sign: bytes([byte]) for byte, sign in enumerate(SIGNS)}


class Bpe(Tokenizer, kinds=("gpt2", "gemma4", "whitespace")):
    """Byte pair encoding with ranked merges, see the module."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self.pre = _pre_name(metadata)
        self._scheme = BY_NAME[self.pre]
        super().__init__(metadata)
        if "tokenizer.ggml.pre" not in metadata and metadata["tokenizer.ggml.model"] == "gpt2":
            self.notes.append("the file names no pre-tokenizer: the default one is used, tokens may be wrong")
        if self._scheme.newline_words and "bos" in self.vocab.special:
            self.vocab.add_bos = True  # as llama.cpp does: files of this kind say false by mistake
        vocab = self.vocab
        self._ids = dict(vocab.ids)
        for id in vocab.of_type(UNKNOWN, CONTROL, BYTE):
            self._ids.pop(vocab.tokens[id], None)
        ranks = _ranks(metadata, optional=self.pre in NO_MERGES)
        self._merges = RankedMerges(vocab.tokens, self._ids, ranks)
        self._splitter = Splitter(self._scheme.stages)
        # Words can be encoded one by one only if no merge crosses a space.
        apart = self._scheme.joins_words and not re.search(f"[^{SPACE}\0 ] ?{SPACE}", "\0".join(ranks))
        self._words_within = WORD if apart else None
        self._drops_blanks = metadata["tokenizer.ggml.model"] == "whitespace"
        self._lowers = self._drops_blanks and flag(metadata, "normalizer.lowercase", self.pre != "whitespace")
        self._byte_ids = vocab.byte_ids()
        self._cache = WordCache(self._spell)

    @classmethod
    def conventions_for(cls, metadata: Mapping[str, Any]) -> Conventions:
        return Conventions(add_bos=BY_NAME[_pre_name(metadata)].add_bos)

    def encode_part(self, text: str, after_special: bool) -> list[int]:
        return self._cache.encode(self._words(text))

    @property
    def _splits_at_spaces(self) -> bool:
        return not self._scheme.joins_words or self._words_within is not None

    @cached_property
    def _longest(self) -> int | None:
        return None if self._drops_blanks else super()._longest

    @cached_property
    def _lacks(self) -> frozenset[int]:
        if not self._scheme.byte_level or all(sign in self._ids for sign in SIGNS):
            return frozenset()
        spelled = set("".join(self._ids))
        return frozenset(byte for byte, sign in enumerate(SIGNS) if sign not in spelled)

    def _piece(self, id: int) -> bytes:
        text = self.token_text(id)
        if self._scheme.joins_words or self.vocab.types[id] != NORMAL:
            return super()._piece(id)
        if self._scheme.byte_level:
            return b"".join(BYTES_OF.get(sign) or sign.encode("utf-8", "surrogateescape") for sign in text)
        return text.encode("utf-8", "surrogateescape")

    def _words(self, text: str) -> Iterable[str]:
        if self._scheme.joins_words:
            text = text.replace(" ", SPACE)
        if self._drops_blanks:
            pieces = re.split(f"[{BLANKS}]+", "".join(map(lower, text)) if self._lowers else text)
            return [word for piece in pieces for word in self._splitter.split(piece)]
        words = self._splitter.split(text)
        if self._words_within is None:
            return words
        return [part for word in words for part in self._words_within.findall(word)]

    def _spell(self, word: str) -> list[int]:
        if self._scheme.byte_level:
            word = word.encode("utf-8", "surrogateescape").decode("latin-1").translate(SIGNS)
        if self._scheme.whole_words or (self._scheme.newline_words and not word.strip("\n")):
            id = self._ids.get(word)
            if id is not None:
                return [id]
        symbols, n = self._merges.spell(word), len(self.vocab)
        if not symbols or max(symbols) < n:
            return symbols
        return [id for symbol in symbols for id in ([symbol] if symbol < n else self._fallback(symbol))]

    def _fallback(self, symbol: int) -> list[int]:
        """Ids for a text that is not a token: of its bytes, otherwise the unknown token, if any.

        Bytes that a byte-level vocabulary lacks are left out, as in llama.cpp: there the unknown token is often the end
        of a text.
        """
        text = self._merges.text(symbol)
        if self._scheme.byte_level:
            return [self._ids[sign] for sign in text if sign in self._ids]
        ids = [self._byte_ids[byte] for byte in text.encode("utf-8", "surrogateescape")]
        if None in ids and self.vocab.unknown is not None:
            return [self.vocab.unknown]
        return [id for id in ids if id is not None]


def _pre_name(metadata: Mapping[str, Any]) -> str:
    if metadata.get("tokenizer.ggml.model") == "gemma4":
        return "gemma4"
    name = metadata.get("tokenizer.ggml.pre") or MISSING
    if name not in BY_NAME:
        raise BadFileError(
            f"tokenizer.ggml.pre is {str(name)[:60]!r}, an unsupported pre-tokenizer",
            "a newer release of llmlocal may support it",
        )
    return str(name)


def _ranks(metadata: Mapping[str, Any], *, optional: bool) -> dict[str, int]:
    """Rank of each merge by its text "left right", 0 the first."""
    merges = string_array(metadata, "merges")
    if merges is None:
        if optional:
            return {}
        raise BadFileError("tokenizer.ggml.merges is missing, which this tokenizer needs")
    if "\0".join(merges).count(" ") != len(merges) or not all(map(contains, merges, repeat(" "))):
        bad = next(i for i, merge in enumerate(merges) if merge.count(" ") != 1)
        raise BadFileError(
            f"tokenizer.ggml.merges[{bad}] is {merges[bad][:60]!r}, expected two texts separated by one space"
        )
    ranks = dict(zip(merges, range(len(merges)), strict=True))
    if len(ranks) != len(merges):  # the first of duplicates counts
        ranks = dict(zip(reversed(merges), range(len(merges) - 1, -1, -1), strict=True))
    return ranks
