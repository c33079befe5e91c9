"""Remembers how short words are tokenized: texts repeat few words many times."""

from __future__ import annotations

from collections.abc import Callable, Iterable

CACHED_WORDS = 50_000
CACHED_LENGTH = 64  # characters of the longest word that is remembered


class WordCache:
    """Token ids by word, computed by `encode_word` where a word is new; emptied when it is full."""

    def __init__(self, encode_word: Callable[[str], list[int]]) -> None:
        self._encode_word = encode_word
        self._ids: dict[str, list[int]] = {}

    def encode(self, words: Iterable[str]) -> list[int]:
        """Token ids of all words in their order."""
        cache, ids = self._ids, list[int]()
        for word in words:
            found = cache.get(word)
            if found is None:
                found = self._encode_word(word)
                if len(word) <= CACHED_LENGTH:
                    if len(cache) >= CACHED_WORDS:
                        cache.clear()
                    cache[word] = found
            ids += found
        return ids
