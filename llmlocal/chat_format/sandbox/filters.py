"""jinja2's filters, charged to a budget and keeping the origin of text.

A filter that is not named here runs as jinja2 has it; where it makes new text out of a user's, all of that is the
user's. Those that search with regular expressions or format for people (`urlize`, `pprint`, ...) are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from types import GeneratorType
from typing import Any

from jinja2 import Environment, Undefined, pass_environment
from jinja2.filters import ignore_case, make_attrgetter
from jinja2.nodes import EvalContext
from jinja2.runtime import Context

from . import strings
from .budget import ENTRY, Budget, OverBudgetError
from .origin import Safe, joined

LEFT_OUT = ("forceescape", "pprint", "striptags", "urlize", "wordwrap", "xmlattr")
PASSING = frozenset(
    ("attr", "d", "default", "first", "last", "max", "min", "random", "safe")
)  # return one of their arguments unchanged
WIDTHS = frozenset(("batch", "center", "indent", "round", "slice", "tojson", "truncate"))
WIDTH = 10_000
JSON_INDENT = 16
ITERATING = frozenset(("batch", "list", "map", "reject", "select", "slice", "sort", "title", "unique"))
SURROUNDINGS = (Context, Environment, EvalContext, Undefined)


def under_budget(budget: Budget, filters: Mapping[str, Any]) -> dict[str, Any]:
    """The filters that templates may use, from jinja2's."""
    rest = {name: function for name, function in filters.items() if name not in LEFT_OUT}
    own = Own(budget)
    known = rest | {name: getattr(own, name) for name in Own.NAMES}
    return {name: _metered(budget, name, function) for name, function in known.items()}


def under_clock(budget: Budget, tests: Mapping[str, Any]) -> dict[str, Any]:
    """jinja2's tests, each counted as a step of the budget."""

    def metered(test: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(test)
        def run(*args: Any, **kwargs: Any) -> Any:
            budget.tick()
            return test(*args, **kwargs)

        return run

    return {name: metered(test) for name, test in tests.items()}


def _metered(budget: Budget, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        budget.tick()
        given = [value for value in (*args, *kwargs.values()) if not isinstance(value, SURROUNDINGS)]
        if name in WIDTHS and any(isinstance(value, int) and abs(value) > WIDTH for value in given[1:]):
            raise OverBudgetError(f"it gives {name} too large a number")
        if name in ITERATING and given and isinstance(given[0], str):
            budget.allow(ENTRY * len(given[0]))
        result = budget.hold(function(*args, **kwargs))
        if isinstance(result, GeneratorType):
            return budget.each(result)
        if name in PASSING or not isinstance(result, str):
            return result
        return strings.as_made_from(budget, result, given)

    return run


class Own:
    """Filters that keep each character's origin or need a size check. Arguments as in jinja2."""

    # fmt: off
    NAMES = (
        "e", "escape", "format", "indent", "join", "lower", "replace", "safe", "string", "sum", "tojson", "trim",
        "unique", "upper",
    )
    # fmt: on

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def string(self, object: Any) -> str:
        return strings.text_of(self._budget, object)

    def safe(self, value: Any) -> str:
        return Safe.of(self.string(value))

    def escape(self, s: Any) -> str:
        return strings.escaped(self._budget, self.string(s))

    e = escape

    @pass_environment
    def join(
        self, environment: Environment, value: Iterable[Any], d: str = "", attribute: str | int | None = None
    ) -> str:
        values = map(make_attrgetter(environment, attribute), value) if attribute is not None else value
        return strings.join(self._budget, self.string(d), map(self.string, values))

    @pass_environment
    def sum(
        self, environment: Environment, iterable: Iterable[Any], attribute: str | int | None = None, start: Any = 0
    ) -> Any:
        if isinstance(start, str):
            raise TypeError("sum() can't sum strings")
        values = map(make_attrgetter(environment, attribute), iterable) if attribute is not None else iterable
        for value in self._budget.each(values):
            start = self._budget.hold(start + value)
        return start

    @pass_environment
    def unique(
        self,
        environment: Environment,
        value: Iterable[Any],
        case_sensitive: bool = False,
        attribute: str | int | None = None,
    ) -> Iterator[Any]:
        key_of = make_attrgetter(environment, attribute, postprocess=None if case_sensitive else ignore_case)
        seen = set()
        for item in self._budget.each(value):
            key = key_of(item)
            if key not in seen:
                seen.add(key)
                yield item

    def replace(self, s: Any, old: str, new: str, count: int | None = None) -> str:
        text, old, new = map(self.string, (s, old, new))
        return strings.replace(self._budget, text, old, new, -1 if count is None else count)

    def indent(self, s: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        margin = self.string(width) if isinstance(width, str) else " " * width
        lines = strings.splitlines(self._budget, joined((self.string(s), "\n")))
        self._budget.allow(len(s) + len(lines) * len(margin))
        moved = (joined((margin, line)) if line or blank else line for line in self._budget.each(lines[1:]))
        return joined((margin if first else "", strings.joined_with("\n", [*lines[:1], *moved])))

    def format(self, value: Any, *args: Any, **kwargs: Any) -> str:
        if args and kwargs:
            raise TypeError("can't handle positional and keyword arguments at the same time")
        return strings.percent(self._budget, self.string(value), kwargs or args)

    def tojson(
        self,
        x: Any,
        ensure_ascii: bool = False,
        indent: Any = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        return written(self._budget, x, ensure_ascii, indent, separators, sort_keys)

    def trim(self, value: Any, chars: str | None = None) -> str:
        return strings.strip(self._budget, self.string(value), chars)

    def upper(self, s: Any) -> str:
        text: str = strings.METHODS["upper"](self._budget, self.string(s))
        return text

    def lower(self, s: Any) -> str:
        text: str = strings.METHODS["lower"](self._budget, self.string(s))
        return text


def written(budget: Budget, x: Any, ensure_ascii: bool, indent: Any, separators: Any, sort_keys: bool) -> str:
    """`x` as JSON, as transformers' tojson writes it: no HTML escapes."""
    sizes = [len(value) for value in (indent, *(separators or ())) if isinstance(value, str)]
    if any(size > JSON_INDENT for size in (*sizes, indent if isinstance(indent, int) else 0)):
        raise OverBudgetError("it writes JSON too wide")
    budget.hold(x)
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    if indent is None:
        return encoder.encode(x)
    pieces, size = [], 0
    for piece in encoder.iterencode(x):  # piece by piece: deep lists are indented again and again
        pieces.append(piece)
        size += len(piece)
        budget.allow(size)
    return "".join(pieces)
