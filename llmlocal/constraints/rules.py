"""What rules of grammars are made of."""

from __future__ import annotations

from dataclasses import dataclass

LAST, SURROGATES = 0x10FFFF, (0xD800, 0xDFFF)


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of ranges of code points, ascending, both ends included."""

    ranges: tuple[tuple[int, int], ...]

    def scalars(self) -> list[tuple[int, int]]:
        """The ranges without surrogates, which are not characters."""
        first, last = SURROGATES
        cut = (
            (last + 1 if first <= low <= last else low, first - 1 if first <= high <= last else high)
            for low, high in self.ranges
        )
        return [(low, high) for low, high in cut if low <= high]


@dataclass(frozen=True, slots=True)
class Rule:
    """The name of a rule."""

    name: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """Items one after the other; without any, the empty text."""

    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several items."""

    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """An item `least` to `most` times; None: without end."""

    item: Item
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Lexeme:
    """Texts of a regular item, one character at least, which the lexer matches as far as they go."""

    item: Item


Item = Chars | Rule | Sequence | Choice | Repeat | Lexeme
EMPTY = Sequence(())


def parts_of(item: Item) -> tuple[Item, ...]:
    """The items within an item."""
    if isinstance(item, Repeat | Lexeme):
        return (item.item,)
    return item.items if isinstance(item, Sequence | Choice) else ()


def sequence(*items: Item) -> Item:
    """Items one after the other, without sequences among them."""
    flat = [part for item in items for part in (item.items if isinstance(item, Sequence) else (item,))]
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def choice(*items: Item) -> Item:
    """One of several items, each of them once."""
    flat = [part for item in items for part in (item.items if isinstance(item, Choice) else (item,))]
    once = tuple(dict.fromkeys(flat))
    return once[0] if len(once) == 1 else Choice(once)


def repeat(item: Item, least: int, most: int | None) -> Item:
    """An item `least` to `most` times."""
    if most == 0:
        return EMPTY
    return item if least == most == 1 else Repeat(item, least, most)


def nullable(item: Item) -> bool:
    """Whether an item without rules allows the empty text."""
    if isinstance(item, Sequence):
        return all(map(nullable, item.items))
    if isinstance(item, Choice):
        return any(map(nullable, item.items))
    return isinstance(item, Repeat) and (item.least == 0 or nullable(item.item))


def without_empty(item: Item) -> Item | None:
    """An item without rules that allows the same texts but for the empty one; None where there are no others."""
    if not nullable(item):
        return item
    if isinstance(item, Repeat):
        inner = without_empty(item.item)
        return None if inner is None or item.most == 0 else repeat(inner, 1, item.most)
    assert isinstance(item, Sequence | Choice)
    found = [without_empty(part) for part in item.items]
    if isinstance(item, Sequence):  # what comes first is not empty, and anything after it
        found = [None if f is None else sequence(f, *item.items[i + 1 :]) for i, f in enumerate(found)]
    some = [part for part in found if part is not None]
    return choice(*some) if some else None
