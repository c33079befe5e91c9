"""Which parts of a grammar become lexemes, so that a mask over the vocabulary takes little time.

A lexeme is matched by one automaton; what is not within one takes a step of the parser for each character. A regular
part becomes a lexeme where the lexer, which is greedy, finds the same texts; other parts are cut until it does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from .lookahead import TooLarge, swallowing
from .rules import (
    EMPTY,
    Chars,
    Choice,
    Item,
    Lexeme,
    Repeat,
    Rule,
    Sequence,
    choice,
    nullable,
    parts_of,
    repeat,
    sequence,
    without_empty,
)

MAX_SIZE, MAX_WHOLE = 4096, 1 << 16  # characters of a lexeme, and of all of them, with their repetitions
MAX_DEPTH, MAX_ROUNDS, MAX_EMPTY = 50, 20, 16


def with_lexemes(rules: Mapping[str, Item]) -> dict[str, Item]:
    """Rules of the same texts whose characters are all within lexemes."""
    cut = dict[Item, int]()
    try:
        for _ in range(MAX_ROUNDS):
            found = _Lexemes(rules, cut).found()
            if not (wrong := swallowing(found)):
                return found
            cut |= wrong
    except TooLarge:
        pass
    return {name: _single(item) for name, item in rules.items()}


def _single(item: Item) -> Item:
    """An item with each character in a lexeme of its own, which is always right."""
    if isinstance(item, Chars):
        return Lexeme(item)
    if isinstance(item, Repeat):
        return Repeat(_single(item.item), item.least, item.most)
    if isinstance(item, Sequence | Choice):
        return type(item)(tuple(map(_single, item.items)))
    return item


class _Lexemes:
    """Rules with lexemes. Those in `cut` become several; a sequence is cut before the given part."""

    def __init__(self, rules: Mapping[str, Item], cut: Mapping[Item, int]) -> None:
        self._rules, self._cut, self._whole = rules, cut, 0
        self._regular: dict[str, Item] = {}  # rules that are regular, with what the rules in them stand for
        self._sizes: dict[str, tuple[int, int]] = {}
        self._find_regular()

    def found(self) -> dict[str, Item]:
        """The rules that `root` needs. Raises TooLarge."""
        found, todo = dict[str, Item](), ["root"]
        while todo:
            if (name := todo.pop()) not in found:
                found[name] = self._marked(self._rules[name])
                todo += _names(found[name])
        return found

    def _find_regular(self) -> None:
        """Rules before those that use them; those that come back to themselves are never reached."""
        users, missing = defaultdict[str, list[str]](list), dict[str, int]()
        for name, item in self._rules.items():
            used = set(_names(item))
            missing[name] = len(used)
            for each in used:
                users[each].append(name)
        ready = [name for name, count in missing.items() if not count]
        while ready:
            name = ready.pop()
            if (size := self._size(self._rules[name])) is None:
                continue
            self._sizes[name], self._regular[name] = size, self._expanded(self._rules[name])
            for user in users[name]:
                missing[user] -= 1
                if not missing[user]:
                    ready.append(user)

    def _size(self, item: Item) -> tuple[int, int] | None:
        """How many characters and levels an item has; None where it is not regular or too large for a lexeme."""
        if isinstance(item, Rule):
            return self._sizes.get(item.name)
        if isinstance(item, Chars):
            return 1, 1
        parts = [self._size(part) for part in parts_of(item)]
        some = [size for size in parts if size is not None]
        times = max(item.least, item.most or 0, 1) if isinstance(item, Repeat) else 1
        size, depth = times * sum(size for size, _ in some), 1 + max((depth for _, depth in some), default=0)
        return None if len(some) < len(parts) or size > MAX_SIZE or depth > MAX_DEPTH else (size, depth)

    def _expanded(self, item: Item) -> Item:
        """A regular item with what the rules in it stand for."""
        if isinstance(item, Rule):
            return self._regular[item.name]
        if isinstance(item, Repeat):
            return repeat(self._expanded(item.item), item.least, item.most)
        if isinstance(item, Sequence):
            return sequence(*map(self._expanded, item.items))
        return choice(*map(self._expanded, item.items)) if isinstance(item, Choice) else item

    def _marked(self, item: Item) -> Item:
        """An item with lexemes in it. Raises TooLarge."""
        if self._size(item) is not None:
            return self._lexeme(self._expanded(item))
        if isinstance(item, Repeat):
            return repeat(self._marked(item.item), item.least, item.most)
        if isinstance(item, Sequence):
            return sequence(*map(self._marked, self._together(item)))
        return choice(*map(self._marked, self._together(item))) if isinstance(item, Choice) else item

    def _together(self, item: Sequence | Choice) -> list[Item]:
        """The parts of an item that is no lexeme, with those that can be one together in one."""
        groups, open, room = list[list[Item]](), list[Item](), -1
        for part in item.items:
            size = self._size(part)
            if size is None or size[1] >= MAX_DEPTH:
                groups.append([part])
                room = -1 if isinstance(item, Sequence) else room
            elif size[0] <= room:
                open.append(part)
                room -= size[0]
            else:
                open, room = [part], MAX_SIZE - size[0]
                groups.append(open)
        return [type(item)(tuple(group)) if len(group) > 1 else group[0] for group in groups]

    def _lexeme(self, item: Item) -> Item:
        """What matches a regular item. Raises TooLarge."""
        empty = nullable(item)
        if empty and isinstance(item, Sequence) and len(item.items) > MAX_EMPTY:
            return sequence(*map(self._lexeme, item.items))
        some = without_empty(item)
        if some is None:
            return EMPTY
        size = self._size(some)
        self._whole += MAX_SIZE if size is None else size[0]
        if self._whole > MAX_WHOLE:
            raise TooLarge
        if some not in self._cut:
            made: Item = Lexeme(some)
        elif empty and isinstance(item, Sequence):
            return sequence(*map(self._lexeme, item.items))
        else:
            made = self._apart(some, self._cut[some])
        return choice(made, EMPTY) if empty else made

    def _apart(self, item: Item, part: int) -> Item:
        """What matches a regular item that is no lexeme."""
        if isinstance(item, Sequence):
            first = max(part, 1)
            return sequence(self._lexeme(sequence(*item.items[:first])), self._lexeme(sequence(*item.items[first:])))
        if isinstance(item, Choice):
            return choice(*map(self._lexeme, item.items))
        assert isinstance(item, Repeat)
        inner = without_empty(item.item)
        assert inner is not None
        return repeat(self._lexeme(inner), 0 if nullable(item.item) else item.least, item.most)


def _names(item: Item) -> Iterator[str]:
    """The names of rules in an item, from the last to the first."""
    todo = [item]
    while todo:
        item = todo.pop()
        if isinstance(item, Rule):
            yield item.name
        todo += () if isinstance(item, Lexeme) else parts_of(item)
