"""`plamo2`: the tokenization with the highest sum of scores, by dynamic programming from the end; bytes as fallback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import BadFileError
from .base import Tokenizer
from .prefixes import Prefixes
from .vocab import BYTE, CONTROL, UNKNOWN, Conventions, byte_of

SCALE = 10_000  # scores are stored as integers in units of 1 / SCALE
WORST, IN_BYTES = -20_000_000, -10_000_000  # scores at or below WORST are never used; score of a character in bytes


class Plamo2(Tokenizer, kinds=("plamo2",)):
    """The tokenizer of PLaMo 2, see the module."""

    conventions = Conventions(bos=1, eos=2, unk=0, pad=3)

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        super().__init__(metadata)
        vocab = self.vocab
        if vocab.scores is None:
            raise BadFileError("tokenizer.ggml.scores is missing, which this tokenizer needs")
        self._scores = [_rounded(score * SCALE) for score in vocab.scores]
        unused = set(vocab.of_type(BYTE, CONTROL, UNKNOWN))
        usable = {text: id for text, id in vocab.ids.items() if id not in unused and self._scores[id] > WORST}
        self._tokens = Prefixes(usable)
        self._byte_ids = [vocab.unknown if id is None else id for id in vocab.byte_ids()]

    def encode_part(self, text: str, after_special: bool) -> list[int]:
        text = text.removeprefix("\ufeff")
        n = len(text)
        sums, lengths, ids = [0] * (n + 1), [1] * n, [-1] * n
        scores, matches = self._scores, self._tokens.matches
        for at in range(n - 1, -1, -1):
            best = sums[at + 1] + IN_BYTES
            for length, id in matches(text, at):
                score = sums[at + length] + scores[id]
                if score > best or (score == best and ids[at] < 0):
                    best, lengths[at], ids[at] = score, length, id
            sums[at] = best
        found: list[int] = []
        at = 0
        while at < n:
            if ids[at] >= 0:
                found.append(ids[at])
            else:
                ids_of_bytes = (self._byte_ids[byte] for byte in text[at].encode("utf-8", "surrogateescape"))
                found += (id for id in ids_of_bytes if id is not None)
            at += lengths[at]
        return found

    def _piece(self, id: int) -> bytes:
        text = self.token_text(id)
        return byte_of(text) if self.vocab.types[id] == BYTE else text.encode("utf-8", "surrogateescape")


def _rounded(value: float) -> int:
    """The nearest integer, halves rounded away from zero."""
    return int(value + 0.5) if value >= 0 else -int(0.5 - value)
