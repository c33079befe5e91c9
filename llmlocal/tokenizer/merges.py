"""The merges of byte pair encoding: repeatedly joins the neighbouring pair of symbols with the lowest rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple

GONE, END = -1, -2  # sentinels: merged into the symbol before, and beyond either end
REMEMBERED_PAIRS = 500_000


class Merge(NamedTuple):
    """Two symbols that become one; the lowest rank is merged first."""

    rank: int
    left: int
    right: int
    result: int


UNKNOWN = Merge(GONE, GONE, GONE, GONE)  # a pair that has not been looked up


class RankedMerges:
    """Merges over numbered symbols: a token has its id, any other text a number above the last id."""

    def __init__(self, tokens: Sequence[str], ids: Mapping[str, int], ranks: Mapping[str, int]) -> None:
        """`ids` are the tokens that merges may form; keys of `ranks` are "left right", as in GGUF."""
        self._tokens, self._ids, self._ranks = tokens, ids, ranks
        self._others: list[str] = []
        self._numbers: dict[str, int] = {}
        self._pairs: dict[tuple[int, int], Merge | None] = {}

    def text(self, symbol: int) -> str:
        """The text of a symbol."""
        n = len(self._tokens)
        return self._tokens[symbol] if symbol < n else self._others[symbol - n]

    def spell(self, word: str) -> list[int]:
        """The symbols of `word` after all merges, in near linear time.

        All candidates of the lowest rank are merged from left to right before the next rank, unless a merge creates a
        candidate of a lower rank.
        """
        symbols = list(map(self._number, word))
        if len(symbols) < 2:
            return symbols
        waiting, ranks = self._candidates(symbols)
        n = len(symbols)
        after, before = list(range(1, n + 1)), list(range(-1, n))
        symbols.append(END)  # the neighbour of both ends: before[0] is -1
        get, find = self._pairs.get, self._find
        while ranks:
            merge, positions = waiting.pop(heappop(ranks))
            rank, left, right, result = merge
            positions.sort()
            for at, i in enumerate(positions):
                j = after[i]
                if symbols[i] != left or symbols[j] != right:
                    continue  # one of the two has already been merged
                symbols[i], symbols[j] = result, GONE
                k = after[i] = after[j]
                before[k] = i
                h = before[i]
                lowest = rank
                for place, key in ((h, (symbols[h], result)), (i, (result, symbols[k]))):
                    found = get(key, UNKNOWN)
                    if found is UNKNOWN:
                        found = find(key)
                    if found is None:
                        continue
                    other = found[0]
                    if other in waiting:
                        waiting[other][1].append(place)
                    else:
                        waiting[other] = found, [place]
                        heappush(ranks, other)
                    if other < lowest:
                        lowest = other
                if lowest < rank and at + 1 < len(positions):
                    waiting[rank] = merge, positions[at + 1 :]
                    heappush(ranks, rank)
                    break
        return [symbol for symbol in symbols if symbol >= 0]

    def _candidates(self, symbols: list[int]) -> tuple[dict[int, tuple[Merge, list[int]]], list[int]]:
        """Positions of mergeable neighbours by rank, and a heap of the ranks."""
        waiting: dict[int, tuple[Merge, list[int]]] = {}
        pairs, find = self._pairs, self._find
        for i, key in enumerate(pairwise(symbols)):
            found = pairs[key] if key in pairs else find(key)
            if found is not None:
                if found.rank in waiting:
                    waiting[found.rank][1].append(i)
                else:
                    waiting[found.rank] = found, [i]
        return waiting, sorted(waiting)

    def _number(self, text: str) -> int:
        id = self._ids.get(text)
        if id is not None:
            return id
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self._tokens) + len(self._others)
            self._others.append(text)
        return number

    def _find(self, key: tuple[int, int]) -> Merge | None:
        """The merge of a pair, None where there is none; cached, as texts repeat few pairs many times."""
        if END in key:
            return None
        left, right = map(self.text, key)
        rank = self._ranks.get(f"{left} {right}")
        if len(self._pairs) >= REMEMBERED_PAIRS:
            self._pairs.clear()
        found = self._pairs[key] = None if rank is None else Merge(rank, *key, self._number(left + right))
        return found
