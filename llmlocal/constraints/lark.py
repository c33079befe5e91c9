"""Rules of grammars, written in llguidance's variant of Lark."""

from __future__ import annotations

from collections.abc import Mapping

from .rules import Chars, Choice, Item, Lexeme, Repeat, Rule, Sequence


def written(rules: Mapping[str, Item]) -> str:
    """The texts of the rule `root`. Characters are within lexemes, which become regular expressions."""
    numbers = {rule: f"r{i}" for i, rule in enumerate(rules)}
    lines = [f"{numbers[rule]}: {_written(item, numbers)}" for rule, item in rules.items()]
    return "\n".join(["%llguidance {}", f"start: {numbers['root']}", *lines, ""])


def _written(item: Item, numbers: Mapping[str, str]) -> str:
    if isinstance(item, Lexeme):
        return f"/{_regex(item.item)}/"
    if isinstance(item, Rule):
        return numbers[item.name]
    if isinstance(item, Repeat):
        return f"({_written(item.item, numbers)}){_counts(item)}"
    assert isinstance(item, Sequence | Choice)
    parts = [_written(part, numbers) for part in item.items]
    return f"({' | '.join(parts)})" if isinstance(item, Choice) else " ".join(parts) or '""'


def _regex(item: Item) -> str:
    """A regular expression for an item without rules."""
    if isinstance(item, Chars):
        return f"[{''.join(_range(low, high) for low, high in item.scalars())}]"
    if isinstance(item, Repeat):
        return f"(?:{_regex(item.item)}){_counts(item)}"
    assert isinstance(item, Sequence | Choice)
    parts = map(_regex, item.items)
    return f"(?:{'|'.join(parts)})" if isinstance(item, Choice) else "".join(parts)


def _range(low: int, high: int) -> str:
    return rf"\u{{{low:x}}}" if low == high else rf"\u{{{low:x}}}-\u{{{high:x}}}"


def _counts(item: Repeat) -> str:
    return f"{{{item.least},{'' if item.most is None else item.most}}}"
