"""Values and calls as Python, JSON and Gemma write them, read in one pass without backtracking. Executes nothing.

Only values that JSON has are accepted, so that arguments can be handed on.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

DEPTH = 64  # brackets within brackets
NAMES: Mapping[str, Any] = {"True": True, "true": True, "False": False, "false": False, "None": None, "null": None}
BLANKS = re.compile(r"\s*+")
TOKEN = re.compile(
    r'(?P<text>"""(?:[^"\\]|\\.|"(?!""))*+"""|"(?:[^"\\]|\\.)*+"|'
    r"'''(?:[^'\\]|\\.|'(?!''))*+'''|'(?:[^'\\]|\\.)*+')"
    r"|(?P<number>[+-]?+(?:0[xXoObB][\da-fA-F_]++|(?:\d[\d_]*+(?:\.[\d_]*+)?+|\.\d[\d_]*+)(?:[eE][+-]?+\d++)?+))"
    r"|(?P<name>[A-Za-z_][\w.-]*+)|(?P<mark>[\[\](){},:=])",
    re.DOTALL,
)


def constant(text: str) -> Any:
    """The value that `text` is, in Python's or JSON's notation; tuples are lists. Raises ValueError."""
    reader = _Reader(text)
    value = reader.value()
    reader.end()
    return value


def calls(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Names and arguments of `f(a=1)`, `f(a=1), g()` or a list of calls. Raises ValueError."""
    reader = _Reader(text)
    close = {"[": "]", "(": ")"}.get(reader.peek())
    found = reader.items(close, reader.call) if close else [reader.call()]
    while not close and reader.taken(","):
        found.append(reader.call())
    reader.end()
    return found


def mapping_at(text: str, at: int, quote: str) -> tuple[dict[str, Any], int]:
    """An object that begins at `at`, whose keys need no quotes, with `quote` around texts; and where it ends."""
    reader = _Reader(text, at, quote)
    if reader.peek() != "{":
        raise ValueError("no object")
    return reader.value(), reader.at


class _Reader:
    """Reads `text` from `at` on. `quote`, if there is one, begins and ends texts, and keys may be bare names."""

    def __init__(self, text: str, at: int = 0, quote: str = "") -> None:
        self.text, self.at, self._quote, self._depth = text, at, quote, 0
        self._comma = False  # the last list ended with a comma

    def peek(self) -> str:
        """The next character that is not blank, empty at the end."""
        if blanks := BLANKS.match(self.text, self.at):
            self.at = blanks.end()
        return self.text[self.at : self.at + 1]

    def taken(self, mark: str) -> bool:
        """Pass `mark` if it comes next."""
        if self.peek() != mark:
            return False
        self.at += 1
        return True

    def end(self) -> None:
        if self.peek():
            raise ValueError("text after the value")

    def value(self) -> Any:
        mark = self.peek()
        if self._quote and self.text.startswith(self._quote, self.at):
            return self._quoted()
        if mark == "{":
            return dict(self.items("}", self._pair))
        if mark == "[":
            return self.items("]", self.value)
        if mark == "(":
            items = self.items(")", self.value)
            return items[0] if len(items) == 1 and not self._comma else items
        return self._scalar()

    def items(self, close: str, read: Callable[[], Any]) -> list[Any]:
        """What stands between the bracket that comes next and `close`, with commas between, at the end perhaps too."""
        self._depth += 1
        if self._depth > DEPTH:
            raise ValueError("too deeply nested")
        self.at += 1
        found, comma = [], False
        while not self.taken(close):
            found.append(read())
            comma = self.taken(",")
            if not comma and self.peek() != close:
                raise ValueError(f"{close} is missing")
        self._depth, self._comma = self._depth - 1, comma
        return found

    def call(self) -> tuple[str, dict[str, Any]]:
        name = self._token("name")
        if self.peek() != "(":
            raise ValueError("no call")
        return name, dict(self.items(")", self._argument))

    def _argument(self) -> tuple[str, Any]:
        return self._before("=", self._token("name"))

    def _pair(self) -> tuple[str, Any]:
        bare = self.peek() not in ('"', "'") and self._quote and not self.text.startswith(self._quote, self.at)
        key = self._token("name") if bare else self.value()
        if not isinstance(key, str):
            raise ValueError("a key is not a text")
        return self._before(":", key)

    def _before(self, mark: str, key: str) -> tuple[str, Any]:
        if not self.taken(mark):
            raise ValueError(f"{mark} is missing")
        return key, self.value()

    def _quoted(self) -> str:
        start = self.at + len(self._quote)
        end = self.text.find(self._quote, start)
        if end < 0:
            raise ValueError("a text does not end")
        self.at = end + len(self._quote)
        return self.text[start:end]

    def _token(self, kind: str) -> str:
        self.peek()
        found = TOKEN.match(self.text, self.at)
        if found is None or found.lastgroup != kind:
            raise ValueError(f"no {kind}")
        self.at = found.end()
        return found[0]

    def _scalar(self) -> Any:
        found = TOKEN.match(self.text, self.at)
        if found is None or found.lastgroup == "mark":
            raise ValueError("no value")
        self.at = found.end()
        if found.lastgroup == "name":
            if found[0] not in NAMES:
                raise ValueError("a name is not a value")
            return NAMES[found[0]]
        if found[0].startswith('"') and not found[0].startswith('""'):
            try:
                return json.loads(found[0], strict=False)
            except ValueError:
                pass  # Python has more escapes
        value = ast.literal_eval(found[0].lstrip("+"))
        if isinstance(value, float) and not isfinite(value):
            raise ValueError("a number is too large")
        return value
