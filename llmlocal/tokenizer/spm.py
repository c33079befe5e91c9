"""`llama`: SentencePiece's BPE, which merges the neighbours that form the token with the highest score.

Spaces are written `▁`, a text starts with one, and characters outside the vocabulary become byte tokens. The result
equals llama.cpp's `llm_tokenizer_spm`, except that merges never form control, unknown or byte tokens (as in
SentencePiece), so user text cannot become a special token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from typing import Any

from ..errors import BadFileError
from .base import Tokenizer, WordCache
from .vocab import BYTE, CONTROL, SPACE, UNKNOWN, Conventions

WORD = re.compile("▁+[^▁]*|[^▁]+")


class Spm(Tokenizer, kinds=("llama",)):
    """SentencePiece BPE, see the module."""

    conventions = Conventions(bos=1, eos=2, unk=0, add_bos=True, add_space_prefix=True)

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        super().__init__(metadata)
        vocab = self.vocab
        if vocab.scores is None:
            raise BadFileError("tokenizer.ggml.scores is missing, which this tokenizer needs")
        self._scores = vocab.scores
        self._ids = dict(vocab.ids)
        for id in vocab.of_type(UNKNOWN, CONTROL, BYTE):
            self._ids.pop(vocab.tokens[id], None)
        self._byte_ids = vocab.byte_ids()
        # Words can be encoded one by one only if no token crosses the start of a word.
        self._by_word = not any(SPACE in text.lstrip(SPACE) for text in self._ids)
        self._words = WordCache(self._spell)

    def encode_part(self, text: str, after_special: bool) -> list[int]:
        text = text.replace(" ", SPACE)
        if after_special and self.vocab.add_space_prefix:
            text = SPACE + text
        if not self._by_word:
            return self._spell(text)
        return self._words.encode(WORD.findall(text))

    @property
    def _splits_at_spaces(self) -> bool:
        return self._by_word

    def _spell(self, text: str) -> list[int]:
        ids: list[int] = []
        for symbol in merge(text, self._ids, self._scores):
            id = self._ids.get(symbol)
            if id is None:
                ids += self._spell_in_bytes(symbol)
            else:
                ids.append(id)
        return ids

    def _spell_in_bytes(self, char: str) -> list[int]:
        try:
            data = char.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # a lone surrogate
            data = "\ufffd".encode()
        ids = [self._byte_ids[byte] for byte in data]
        if None in ids and self.vocab.unknown is not None:
            return [self.vocab.unknown]
        return [id for id in ids if id is not None]


class Candidates:
    """A priority queue of possible merges: highest score first, among equal scores the leftmost.

    One bucket per score, since scores are few and positions many. A bucket is sorted when its turn comes; positions
    pushed later go into a heap beside it.
    """

    def __init__(self) -> None:
        self._costs: list[float] = []  # a heap of negated scores; exactly the keys of _buckets
        self._buckets: dict[float, list[int]] = {}  # before its turn unsorted, then the heap of late ones
        self._sorted: dict[float, list[int]] = {}  # descending, so that pop() takes the leftmost

    def push(self, cost: float, position: int) -> None:
        bucket = self._buckets.get(cost)
        if bucket is None:
            self._buckets[cost] = [position]
            heappush(self._costs, cost)
        elif cost in self._sorted:
            heappush(bucket, position)
        else:
            bucket.append(position)

    def pop(self) -> tuple[float, int] | None:
        """The cost and position of the next candidate, None when there is no more."""
        while self._costs:
            cost = self._costs[0]
            if cost not in self._sorted:
                self._sorted[cost] = sorted(self._buckets[cost], reverse=True)
                self._buckets[cost] = []
            early, late = self._sorted[cost], self._buckets[cost]
            if late and not (early and early[-1] < late[0]):
                return cost, heappop(late)
            if early:
                return cost, early.pop()
            heappop(self._costs)
            del self._sorted[cost], self._buckets[cost]
        return None


def merge(text: str, ids: Mapping[str, int], scores: Sequence[float]) -> list[str]:
    """The symbols of `text` after all merges, in near linear time.

    Repeatedly merges the pair that forms the token with the highest score, the leftmost among equals.
    """
    n = len(text)
    after, before = list(range(1, n + 1)), list(range(-1, n - 1))  # the symbol at i is text[i:after[i]]
    cost_of: list[float | None] = [None] * n  # of merging the symbol with the next; a candidate that differs is stale
    candidates = Candidates()

    def consider(left: int, end: int) -> None:
        id = ids.get(text[left:end])
        cost_of[left] = cost = None if id is None else -scores[id]
        if cost is not None:
            candidates.push(cost, left)

    for i in range(n - 1):
        consider(i, i + 2)
    while best := candidates.pop():
        cost, left = best
        if cost_of[left] != cost:
            continue
        right = after[left]
        end = after[left] = after[right]
        cost_of[left] = cost_of[right] = None
        if end < n:
            before[end] = left
            consider(left, after[end])
        if before[left] >= 0:
            consider(before[left], end)
    symbols, i = [], 0
    while i < n:
        symbols.append(text[i : after[i]])
        i = after[i]
    return symbols
