"""`t5`: SentencePiece's Unigram model, the tokenization with the highest sum of scores (Viterbi).

A stretch that no token covers becomes one unknown token, or bytes where the vocabulary has all 256 byte tokens.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping
from functools import cached_property
from math import inf
from struct import pack, unpack
from typing import Any
from unicodedata import category, normalize

from ..errors import BadFileError
from .base import Tokenizer
from .charsmap import Charsmap
from .prefixes import Prefixes
from .vocab import BYTE, NORMAL, PREFIX, SPACE, UNUSED, USER_DEFINED, Conventions, flag, integer_array

UNKNOWN_PENALTY = 10.0
NOT_UTF8 = re.compile("[\ud800-\udfff]")


class Ugm(Tokenizer, kinds=("t5",)):
    """SentencePiece Unigram, see the module."""

    conventions = Conventions(eos=1, unk=2, pad=0, add_eos=True)

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        super().__init__(metadata)
        vocab = self.vocab
        if vocab.scores is None:
            raise BadFileError("tokenizer.ggml.scores is missing, which this tokenizer needs")
        self._scores = list(vocab.scores)
        for id in vocab.of_type(USER_DEFINED):
            self._scores[id] = 0.0
        lowest = min((vocab.scores[id] for id in vocab.of_type(NORMAL)), default=0.0)
        self._unknown_score: float = unpack("f", pack("f", lowest - UNKNOWN_PENALTY))[0]  # float32, as in llama.cpp
        usable = vocab.of_type(NORMAL, USER_DEFINED, UNUSED)
        self._tokens = Prefixes({vocab.tokens[id]: id for id in usable if vocab.tokens[id]})
        self._squeezes = flag(metadata, "remove_extra_whitespaces", False)
        names = ("quotes", "strip_accents", "lowercase", "nfc")
        given = [flag(metadata, f"normalizer.{name}", False) for name in names]
        self._quotes, self._strips_accents, self._lowers, self._composes = given
        self._charsmap = _charsmap(metadata)
        byte_ids = [id for id in vocab.byte_ids() if id is not None and vocab.types[id] == BYTE]
        self._byte_ids = byte_ids if len(byte_ids) == 256 else None

    def encode_part(self, text: str, after_special: bool) -> list[int]:
        text = self._normalized(text)
        ids: list[int] = []
        unknown, previous = self.vocab.special["unk"], -1
        for start, end, id in self._best(text):
            if id == unknown and self._byte_ids is not None:
                ids += (self._byte_ids[byte] for byte in text[start:end].encode("utf-8", "surrogateescape"))
            elif id != unknown or (previous != unknown and self.vocab.unknown is not None):
                ids.append(id)
            previous = id
        return ids

    @cached_property
    def _longest(self) -> int | None:
        return None  # so does a stretch that is not in the vocabulary

    def _normalized(self, text: str) -> str:
        if self._byte_ids is None:
            text = NOT_UTF8.sub("\ufffd", text)
        if self._quotes:
            text = text.replace("``", '"').replace("''", '"')
        if self._strips_accents:
            text = "".join(c for c in normalize("NFKD", text) if not category(c).startswith("M"))
        if self._lowers:
            text = text.lower()
        if self._composes:
            text = normalize("NFC", text)
        if self._charsmap is not None:
            text = self._charsmap.replace(text)
        if self._squeezes:
            blank = " " if self._charsmap is not None else None  # to which the map turns all others
            return "".join(SPACE + word for word in text.split(blank) if word)
        words = text.lstrip(" ")
        if words and self.vocab.add_space_prefix:
            text = SPACE + text
        return text.replace(" ", SPACE)

    def _best(self, text: str) -> list[tuple[int, int, int]]:
        """(Start, end, id) of the tokens with the largest sum of scores; of equal ones the first found."""
        n = len(text)
        sums = [-inf] * (n + 1)
        sums[0] = 0.0
        starts, ids = array("q", bytes(8 * (n + 1))), array("q", bytes(8 * (n + 1)))
        scores, matches, unknown = self._scores, self._tokens.matches, self.vocab.special["unk"]
        for at in range(n):
            here, length = sums[at], 0
            for length, id in matches(text, at):
                score, end = here + scores[id], at + length
                if score > sums[end]:
                    sums[end], starts[end], ids[end] = score, at, id
            if length != 1:  # matches are longest first: `length` is the shortest
                score, end = here + self._unknown_score, at + 1
                if score > sums[end]:
                    sums[end], starts[end], ids[end] = score, at, unknown
        path, end = [], n
        while end:
            path.append((starts[end], end, ids[end]))
            end = starts[end]
        return path[::-1]


def _charsmap(metadata: Mapping[str, Any]) -> Charsmap | None:
    values = integer_array(metadata, "precompiled_charsmap")
    if values is None or not len(values):  # nothing is replaced, as in llama.cpp
        return None
    if not all(-128 <= byte < 256 for byte in values):
        raise BadFileError(f"{PREFIX}precompiled_charsmap must hold bytes")
    return Charsmap(bytes(byte & 255 for byte in values))
