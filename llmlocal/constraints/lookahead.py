"""Which lexemes of a grammar would swallow the beginning of what comes after another one.

The lexer of llguidance is greedy: it goes on while any lexeme can. Here it is assumed that every lexeme of a grammar
can begin everywhere, and characters count as equal where their first bytes in UTF-8 are. Both may find more than there
is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from .rules import Chars, Choice, Item, Lexeme, Repeat, Rule, Sequence, parts_of

MAX_PASSES, MAX_WORK, MAX_COPIES = 60, 50_000, 4
EVERY_BYTE = (1 << 256) - 1


class TooLarge(Exception):
    """A grammar is too large to be examined."""


def swallowing(rules: Mapping[str, Item]) -> dict[Item, int]:
    """The items of lexemes that may go on after the end of a lexeme, with a character that may follow there.

    With each of them: which of its parts does so, where it is a sequence. Raises TooLarge.
    """
    positions = _Positions(lexemes_of(rules.values()))
    after = _Followers(rules, positions).after
    todo = list(positions.apart(positions.begins)) if any(after) else []
    seen, found, work = set(todo), dict[int, int](), 0
    while todo:  # where texts of the same bytes have come to, over all lexemes
        state = todo.pop()
        follow = _union(after[positions.owner[position]] for position in state & positions.ends)
        next = frozenset[int]().union(*(positions.next[position] for position in state))
        found |= {positions.owner[each]: positions.part[each] for each in next if positions.bytes[each] & follow}
        states = positions.apart(next) - seen
        seen |= states
        todo += states
        work += len(next) + sum(map(len, states))
        if work > MAX_WORK:
            raise TooLarge
    return {positions.lexemes[number]: part for number, part in found.items()}


def lexemes_of(items: Iterable[Item]) -> list[Item]:
    """The items of all lexemes within `items`, each once."""
    found, todo = dict[Item, None](), list(items)
    while todo:
        item = todo.pop()
        if isinstance(item, Lexeme):
            found[item.item] = None
        else:
            todo += parts_of(item)
    return list(found)


class _Positions:
    """The places of characters within lexemes, numbered through (Glushkov's construction)."""

    def __init__(self, lexemes: Iterable[Item]) -> None:
        self.bytes: list[int] = []  # the bytes with which the characters of a position begin in UTF-8, a bit each
        self.next: list[set[int]] = []  # which positions may come next
        self.owner: list[int] = []  # the number of the lexeme
        self.part: list[int] = []  # in which of its parts, where it is a sequence
        self.ends: set[int] = set()
        self.first: list[int] = []  # the bytes that begin each lexeme, a bit each
        self.begins = frozenset[int]()
        self.lexemes = list(lexemes)
        for number, lexeme in enumerate(self.lexemes):
            parts = lexeme.items if isinstance(lexeme, Sequence) else (lexeme,)
            begins, ends, _ = self._chain([(part, i) for i, part in enumerate(parts)])
            self.owner += [number] * (len(self.bytes) - len(self.owner))
            self.ends |= ends
            self.first.append(_union(self.bytes[position] for position in begins))
            self.begins |= begins

    def apart(self, positions: frozenset[int]) -> set[frozenset[int]]:
        """Those of `positions` where the same byte may be, for each byte."""
        groups = [EVERY_BYTE]
        for some in {self.bytes[position] for position in positions}:
            groups = [part for group in groups for part in (group & some, group & ~some) if part]
        found = {frozenset(each for each in positions if self.bytes[each] & group) for group in groups}
        return found - {frozenset()}

    def _chain(self, items: Iterable[tuple[Item, int]]) -> tuple[set[int], set[int], bool]:
        """Items one after the other: which positions may be first, which may be last, whether there may be none."""
        begins, ends, empty = set[int](), set[int](), True
        for item, part in items:
            first, last, none = self._add(item, part)
            for position in ends:
                self.next[position] |= first
            begins |= first if empty else set()
            ends = ends | last if none else last
            empty &= none
        return begins, ends, empty

    def _add(self, item: Item, part: int) -> tuple[set[int], set[int], bool]:
        if isinstance(item, Chars):
            self.bytes.append(_first_bytes(item))
            self.next.append(set())
            self.part.append(part)
            return {len(self.bytes) - 1}, {len(self.bytes) - 1}, False
        if isinstance(item, Sequence):
            return self._chain((each, part) for each in item.items)
        if isinstance(item, Repeat):
            return self._repeated(item, part)
        assert isinstance(item, Choice)
        begins, ends, empty = set[int](), set[int](), False
        for each in item.items:
            first, last, none = self._add(each, part)
            begins, ends, empty = begins | first, ends | last, empty or none
        return begins, ends, empty

    def _repeated(self, item: Repeat, part: int) -> tuple[set[int], set[int], bool]:
        """Each time by itself where there are few, otherwise as often as one likes."""
        if item.most is not None and 1 < item.most <= MAX_COPIES:
            times = [item.item] * item.least + [Repeat(item.item, 0, 1)] * (item.most - item.least)
            return self._chain((each, part) for each in times)
        begins, ends, empty = self._add(item.item, part)
        if item.most != 1:
            for position in ends:
                self.next[position] |= begins
        return begins, ends, empty or item.least == 0


class _Followers:
    """The first bytes of what may come after each lexeme, a bit each."""

    def __init__(self, rules: Mapping[str, Item], positions: _Positions) -> None:
        self.after = [0] * len(positions.first)
        self._rules, self._begins = rules, positions.first
        self._numbers = {lexeme: number for number, lexeme in enumerate(positions.lexemes)}
        self._firsts = dict.fromkeys(rules, (0, False))
        self._follows = dict.fromkeys(rules, 0)
        self._until_stable(self._find_firsts)
        self._until_stable(self._find_follows)

    def _until_stable(self, again: Callable[[], None]) -> None:
        for _ in range(MAX_PASSES):
            before = dict(self._firsts), dict(self._follows)
            again()
            if before == (self._firsts, self._follows):
                return
        raise TooLarge

    def _find_firsts(self) -> None:
        for name in reversed(list(self._rules)):
            self._firsts[name] = self._first(self._rules[name])

    def _find_follows(self) -> None:
        for name, item in self._rules.items():
            self._walk(item, self._follows[name])

    def _first(self, item: Item) -> tuple[int, bool]:
        """The first bytes of an item, and whether it may be empty."""
        if isinstance(item, Lexeme):
            return self._begins[self._numbers[item.item]], False
        if isinstance(item, Rule):
            return self._firsts[item.name]
        if isinstance(item, Repeat):
            bytes, empty = self._first(item.item)
            return bytes, empty or item.least == 0
        assert isinstance(item, Sequence | Choice)
        bytes, empty = 0, isinstance(item, Sequence)
        for part in item.items:
            more, none = self._first(part)
            bytes |= more
            if isinstance(item, Sequence) and not none:
                return bytes, False
            empty |= none
        return bytes, empty

    def _walk(self, item: Item, after: int) -> None:
        """Note what follows the lexemes and rules of an item, if `after` follows the item."""
        if isinstance(item, Lexeme):
            self.after[self._numbers[item.item]] |= after
        elif isinstance(item, Rule):
            self._follows[item.name] |= after
        elif isinstance(item, Repeat):
            self._walk(item.item, after if item.most == 1 else after | self._first(item.item)[0])
        elif isinstance(item, Choice):
            for part in item.items:
                self._walk(part, after)
        elif isinstance(item, Sequence):
            for part in reversed(item.items):
                self._walk(part, after)
                bytes, empty = self._first(part)
                after = bytes | after if empty else bytes


def _first_bytes(chars: Chars) -> int:
    found = 0
    for low, high in chars.ranges:
        low, high = (chr(code).encode("utf-8", "surrogatepass")[0] for code in (low, high))
        found |= (2 << high) - (1 << low)
    return found


def _union(masks: Iterable[int]) -> int:
    found = 0
    for mask in masks:
        found |= mask
    return found
