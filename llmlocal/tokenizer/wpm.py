"""`bert`: WordPiece. Text is normalized, split at whitespace and punctuation, and words are split into longest tokens.

A word that cannot be fully covered becomes the unknown token. As in llama.cpp a word starts with `▁`; GGUF vocabularies
lack BERT's `##` of continued words. By default normalization lower-cases and strips accents, so decoding does not
restore the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any
from unicodedata import category, normalize

from .base import Tokenizer, WordCache
from .prefixes import Prefixes
from .unicode_classes import BLANKS, CONTROL, PUNCTUATION, SYMBOL, UNASSIGNED, classes, lower
from .vocab import CONTROL as CONTROL_TOKEN
from .vocab import SPACE, UNKNOWN, Conventions, flag

REMEMBERED_CHARS = 50_000
# Chinese characters are words. The gap at U+2B820 is HuggingFace's and llama.cpp's: models are trained with it.
_CHINESE = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F)),
    *((0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)


class Wpm(Tokenizer, kinds=("bert",)):
    """WordPiece, see the module."""

    conventions = Conventions(
        bos=101,
        unk=100,
        sep=102,
        pad=0,
        mask=103,
        add_bos=True,
        add_sep=True,
        add_space_prefix=True,
        closing="sep",
    )

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        super().__init__(metadata)
        vocab = self.vocab
        vocab.add_bos = vocab.add_sep = True  # whatever the file says, as in llama.cpp
        lowers = flag(metadata, "normalizer.lowercase", True)
        self._plain = PlainChars(lowers, flag(metadata, "normalizer.strip_accents", lowers))
        special = set(vocab.of_type(UNKNOWN, CONTROL_TOKEN))
        self._tokens = Prefixes({text: id for text, id in vocab.ids.items() if id not in special})
        before, after = vocab.prefix_and_suffix()
        unknown = vocab.special["unk"]  # a control token in most files of this kind
        self._unknown = [] if unknown in {*before, *after, *vocab.stop_ids} else [unknown]
        self._words = WordCache(self._spell)

    def encode_part(self, text: str, after_special: bool) -> list[int]:
        return self._words.encode(text.translate(self._plain).split())

    @property
    def _splits_at_spaces(self) -> bool:
        return True

    @cached_property
    def _longest(self) -> int | None:
        return None  # a word that is not in the vocabulary becomes one token

    def _spell(self, word: str) -> list[int]:
        word = SPACE + word
        ids, at = [], 0
        while at < len(word):
            found = self._tokens.longest(word, at)
            if found is None:
                return self._unknown
            at, id = found
            ids.append(id)
        return ids


class PlainChars(dict[int, str]):
    """A table for `str.translate`: normalized characters, with spaces around those that are words of their own."""

    def __init__(self, lowers: bool, strips: bool) -> None:
        super().__init__()
        self._lowers, self._strips = lowers, strips

    def __missing__(self, code: int) -> str:
        if len(self) >= REMEMBERED_CHARS:
            self.clear()
        found = self[code] = self._plain(code)
        return found

    def _plain(self, code: int) -> str:
        """As BERT's own code has it: decomposed, without nonspacing marks. llama.cpp drops more, also of Korean."""
        if not self._strips or classes()[code] == UNASSIGNED:  # Python may have a newer Unicode table
            return self._one(code)
        return "".join(self._one(ord(char)) for char in normalize("NFD", chr(code)) if category(char) != "Mn")

    def _one(self, code: int) -> str:
        kind = classes()[code]
        char = chr(code)
        if char in BLANKS:
            return " "
        if char in "\0\ufffd" or kind == CONTROL:
            return ""
        plain = lower(char) if self._lowers else char
        alone = kind == PUNCTUATION or (code < 0x7F and kind == SYMBOL)
        return f" {plain} " if alone or any(low <= code <= high for low, high in _CHINESE) else plain
