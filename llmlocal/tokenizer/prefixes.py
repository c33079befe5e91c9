"""Finds the tokens that a text (or bytes) has at a position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from ..errors import BadFileError

StrOrBytes = TypeVar("StrOrBytes", str, bytes)
MOST_TRIED = 1 << 16  # elements that are compared at one place of a text; 256 lengths of runs of spaces need half
REMEMBERED_WINDOWS, REMEMBERED_LENGTH = 50_000, 256


class Prefixes(Generic[StrOrBytes]):
    """An index of tokens by their first two elements, with the lengths that occur: each length is tried.

    The constructor raises BadFileError for a vocabulary that would make this slow: many long tokens with one beginning.
    """

    def __init__(self, ids: Mapping[StrOrBytes, int]) -> None:
        self._ids: Mapping[StrOrBytes, int] = ids
        self._seen: dict[StrOrBytes, list[tuple[int, int]]] = {}
        lengths: dict[StrOrBytes, set[int]] = {}
        for text in ids:
            start = text[:2]
            if start in lengths:
                lengths[start].add(len(text))
            else:
                lengths[start] = {len(text)}
        for start in lengths:  # a token of one element begins at every place where a longer one does
            if start[:1] in lengths:
                lengths[start].add(1)
        for start, all in lengths.items():
            if sum(all) > MOST_TRIED:
                said = f"{len(all)} lengths of tokens that begin with {start!r}, up to {max(all)}: too many"
                raise BadFileError(f"tokenizer.ggml.tokens: {said}")
        self._lengths: dict[StrOrBytes, list[int]] = {
            start: sorted(all, reverse=True) for start, all in lengths.items()
        }

    def matches(self, text: StrOrBytes, at: int) -> list[tuple[int, int]]:
        """(Length, id) of every token that begins at `at`, longest first. Cached: callers must not change the list."""
        lengths = self._lengths_at(text, at)
        if not lengths:
            return []
        window = text[at : at + lengths[0]]
        found = self._seen.get(window)
        if found is None:
            tried = ((n, self._ids.get(window[:n])) for n in lengths if n <= len(window))
            found = [(n, id) for n, id in tried if id is not None]
            if len(window) <= REMEMBERED_LENGTH:
                if len(self._seen) >= REMEMBERED_WINDOWS:
                    self._seen.clear()
                self._seen[window] = found
        return found

    def longest(self, text: StrOrBytes, at: int) -> tuple[int, int] | None:
        """(End, id) of the longest token that begins at `at`, None where there is none."""
        for n in self._lengths_at(text, at):
            id = self._ids.get(text[at : at + n])
            if id is not None and at + n <= len(text):
                return at + n, id
        return None

    def _lengths_at(self, text: StrOrBytes, at: int) -> Sequence[int]:
        found = self._lengths.get(text[at : at + 2])
        return found if found is not None else self._lengths.get(text[at : at + 1], [])
