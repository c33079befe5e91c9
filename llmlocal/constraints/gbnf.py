"""Grammars in GBNF, the notation of llama.cpp, read into rules."""

from __future__ import annotations

import re

from ..errors import UsageError
from ..text import escaped, shown
from .rules import LAST, SURROGATES, Chars, Choice, Item, Rule, Sequence, repeat

RULE = re.compile(r"(?m)^[ \t]*[A-Za-z0-9_-]+[ \t]*::=")
NAME = re.compile(r"[A-Za-z0-9_-]+")
BLANKS, LINES = re.compile(r"(?:[ \t]|#[^\r\n]*)*"), re.compile(r"(?:\s|#[^\r\n]*)*")
NEXT_CHOICE = re.compile(r"(?:\s|#[^\r\n]*)*\|")
COUNT = re.compile(r"\{\s*([0-9]{1,9})\s*(,\s*([0-9]{0,9})\s*)?\}")
ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([\"\\\[\]nrt]))")
NAMED = {"n": "\n", "r": "\r", "t": "\t"}
MAX_COUNT, MAX_DEPTH = 10_000, 100


def is_gbnf(text: str) -> bool:
    """Whether a grammar is in GBNF: it has a rule with ::=."""
    return RULE.search(text) is not None


def rules_of(text: str, name: str) -> dict[str, Item]:
    """The rules of a grammar in GBNF, which is called `name`. Raises UsageError with line and column of a mistake."""
    return _Reader(text, name).rules()


class _Reader:
    """Reads rules. Raises UsageError."""

    def __init__(self, text: str, name: str) -> None:
        self._text, self._name, self._at, self._depth = text, name, 0, 0
        self._used: dict[str, int] = {}  # names of rules, and where they were first used

    def rules(self) -> dict[str, Item]:
        """All rules by name, of which `root` is the first to apply."""
        found: dict[str, Item] = {}
        self._skip(LINES)
        while self._at < len(self._text):
            start, name = self._at, self._take(NAME)
            if not name:
                raise self._wrong("expected the name of a rule")
            self._skip(BLANKS)
            if not self._text.startswith("::=", self._at):
                raise self._wrong("expected ::=")
            if name in found:
                raise self._wrong(f"the rule {name} is there twice", start)
            self._at += 3
            self._skip(LINES)
            found[name] = self._choice(nested=False)
            self._skip(BLANKS)
            if self._at < len(self._text) and self._text[self._at] not in "\r\n":
                raise self._wrong(f"unexpected {shown(self._text[self._at])}")
            self._skip(LINES)
        for name, at in {**self._used, **({} if "root" in found else {"root": 0})}.items():
            if name not in found:
                raise self._wrong(f"there is no rule {name}", at)
        return found

    def _choice(self, *, nested: bool) -> Item:
        items = [self._sequence(nested)]
        while found := NEXT_CHOICE.match(self._text, self._at):
            self._at = found.end()
            self._skip(LINES)
            items.append(self._sequence(nested))
        return items[0] if len(items) == 1 else Choice(tuple(items))

    def _sequence(self, nested: bool) -> Item:
        blanks, items = LINES if nested else BLANKS, list[Item]()
        while (item := self._item()) is not None:
            self._skip(blanks)
            items.append(self._repeated(item))
            self._skip(blanks)
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def _item(self) -> Item | None:
        start, sign = self._at, self._text[self._at : self._at + 1]
        if sign == '"':
            return self._literal()
        if sign == "[":
            return self._class()
        if sign == ".":
            self._at += 1
            return Chars(((0, LAST),))
        if sign == "(":
            return self._group()
        if sign and sign in "<!":
            raise self._wrong("tokens by name or number are not supported")
        if not (name := self._take(NAME)):
            return None
        self._used.setdefault(name, start)
        return Rule(name)

    def _group(self) -> Item:
        self._at += 1
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(f"more than {MAX_DEPTH} parentheses within each other")
        self._skip(LINES)
        item = self._choice(nested=True)
        self._skip(LINES)
        if self._text[self._at : self._at + 1] != ")":
            raise self._wrong("expected )")
        self._at += 1
        self._depth -= 1
        return item

    def _repeated(self, item: Item) -> Item:
        sign = self._text[self._at : self._at + 1]
        if sign and sign in "*+?":
            self._at += 1
            return repeat(item, int(sign == "+"), 1 if sign == "?" else None)
        if sign != "{":
            return item
        found = COUNT.match(self._text, self._at)
        if found is None:
            raise self._wrong("expected {n}, {n,} or {n,m}")
        least = int(found[1])
        most = least if found[2] is None else int(found[3]) if found[3] else None
        if max(least, most or 0) > MAX_COUNT or (most is not None and most < least):
            raise self._wrong(f"must be counts of at most {MAX_COUNT}, the smaller one first")
        self._at = found.end()
        return repeat(item, least, most)

    def _literal(self) -> Item:
        self._at += 1
        items = []
        while not self._text.startswith('"', self._at):
            items.append(Chars(((code := self._character(), code),)))
        self._at += 1
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def _class(self) -> Item:
        self._at += 1
        negated = self._text.startswith("^", self._at)
        self._at += negated
        found = []
        while not self._text.startswith("]", self._at):
            low = high = self._character()
            if self._text.startswith("-", self._at) and not self._text.startswith("]", self._at + 1):
                self._at += 1
                high = self._character()
                if high < low:
                    raise self._wrong("a range of characters whose end lies before its beginning")
            found.append((low, high))
        self._at += 1
        ranges = _complement(found) if negated else tuple(sorted(found))
        if not ranges:
            raise self._wrong("a class of no character")
        return Chars(ranges)

    def _character(self) -> int:
        """The code point of the next character or escape."""
        if self._at >= len(self._text):
            raise self._wrong("the grammar ends within quotes or brackets")
        if self._text[self._at] != "\\":
            self._at += 1
            return ord(self._text[self._at - 1])
        found = ESCAPE.match(self._text, self._at)
        if found is None:
            raise self._wrong(f"unknown escape {shown(self._text[self._at : self._at + 2])}")
        digits = found[1] or found[2] or found[3]
        code = int(digits, 16) if digits else ord(NAMED.get(found[4], found[4]))
        if code > LAST or SURROGATES[0] <= code <= SURROGATES[1]:
            raise self._wrong(f"{escaped(found[0])} is not a character")
        self._at = found.end()
        return code

    def _skip(self, pattern: re.Pattern[str]) -> None:
        if found := pattern.match(self._text, self._at):
            self._at = found.end()

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return found[0] if found else ""

    def _wrong(self, what: str, at: int | None = None) -> UsageError:
        at = self._at if at is None else at
        line, column = self._text.count("\n", 0, at) + 1, at - self._text.rfind("\n", 0, at)
        return UsageError(f"{self._name}, line {line}, column {column}: {what}")


def _complement(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    found, low = [], 0
    for first, last in sorted(ranges):
        if first > low:
            found.append((low, first - 1))
        low = max(low, last + 1)
    return (*found, (low, LAST)) if low <= LAST else tuple(found)
