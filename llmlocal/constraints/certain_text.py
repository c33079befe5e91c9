"""How much text a form may make certain: llguidance looks for all of it at once, however long that is.

Estimates, never too low: of what must be written the least that it can be, of each part of a form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from math import inf, prod
from typing import Any

from .rules import Chars, Choice, Item, Lexeme, Repeat, Rule, parts_of

MOST = 1 << 16  # characters; a tenth of a second
SWEEPS = 40
COUNT = re.compile(r"\{\s*([0-9]+)")
# Where llguidance does not look for certain text; /a+/ /a/ in Lark of others has no end of it.
NOT_FORCED = '\n%llguidance {"no_forcing": true}\n'


def unforced(compiled: str) -> str:
    """A form in llguidance's notation, whose certain text is written token by token."""
    if not compiled.startswith("{"):
        return compiled + NOT_FORCED
    (grammar,) = json.loads(compiled)["grammars"]
    lark: str = grammar["lark_grammar"] or f"start: %json {json.dumps(grammar['json_schema'])}"
    return lark + NOT_FORCED


def regex_may_be_long(text: str) -> bool:
    """Whether a text of this regular expression may have more than `MOST` certain characters."""
    return _regex(text) > MOST


def rules_may_be_long(rules: Mapping[str, Item]) -> bool:
    """As `regex_may_be_long`, of the rules of a grammar."""

    def parts(item: Item) -> Iterable[Item]:
        return [rules[item.name]] if isinstance(item, Rule) else parts_of(item)

    def length(item: Item, of: Callable[[Item], float]) -> float:
        if isinstance(item, Chars):
            return 1
        each = [of(part) for part in parts(item)]
        if isinstance(item, Repeat):
            return item.least * each[0] if item.least else 0
        return min(each) if isinstance(item, Choice | Rule | Lexeme) else sum(each)

    return _longest(list(rules.values()), parts, length, lambda item: item) > MOST


def schema_may_be_long(schema: Mapping[str, Any], at: Callable[[str], Any]) -> bool:
    """As `regex_may_be_long`, of the JSON of a schema; `at` finds a part of it by its pointer."""

    def parts(part: Any) -> Iterable[Any]:
        if not isinstance(part, Mapping):
            return
        if isinstance(part.get("$ref"), str):
            yield at(part["$ref"][1:])
        for value in part.values():
            if isinstance(value, Mapping):
                yield value
                yield from value.values()
            elif isinstance(value, list):
                yield from value

    def length(part: Any, of: Callable[[Any], float]) -> float:
        return max(_bodies(part, of, at)) if isinstance(part, Mapping) else 1

    return _longest([schema], parts, length, id) > MOST


def _bodies(part: Mapping[str, Any], of: Callable[[Any], float], at: Callable[[str], Any]) -> Iterable[float]:
    """What each kind of value needs that a schema describes: a part that allows several is not told apart."""
    yield 1
    if isinstance(part.get("$ref"), str):
        yield of(at(part["$ref"][1:]))
    if "const" in part:
        yield len(json.dumps(part["const"]))
    for keyword in ("anyOf", "oneOf"):
        if isinstance(found := part.get(keyword), list) and found:
            yield min(map(of, found))
    if isinstance(found := part.get("allOf"), list):
        yield sum(map(of, found))
    if isinstance(found := part.get("enum"), list) and found:
        yield min(len(json.dumps(value)) for value in found)
    yield _number(part.get("minLength"))
    yield _regex(str(part.get("pattern", "")))
    first = part.get("prefixItems", part.get("items"))
    listed = first if isinstance(first, list) else []
    rest = part.get("additionalItems") if isinstance(part.get("items"), list) else part.get("items")
    yield sum(2 + of(item) for item in listed) + _times(_number(part.get("minItems")), 2 + of(rest))
    fields, required = part.get("properties"), part.get("required")
    named = fields if isinstance(fields, Mapping) else {}
    must = [key for key in required if isinstance(key, str)] if isinstance(required, list) else []
    yield sum(6 + len(key) + of(named.get(key)) for key in must)
    yield _times(_number(part.get("minProperties")), 8 + of(part.get("additionalProperties")))


def _longest(
    roots: Sequence[Any],
    parts: Callable[[Any], Iterable[Any]],
    length: Callable[[Any, Callable[[Any], float]], float],
    key: Callable[[Any], Hashable],
) -> float:
    """The greatest of the lengths of all parts; those that come back to themselves begin with infinity and fall."""
    found: dict[Hashable, Any] = {}
    todo = list(roots)
    while todo:
        if key(part := todo.pop()) not in found:
            found[key(part)] = part
            todo += parts(part)
    least = dict.fromkeys(found, inf)
    order = list(found.items())
    for _ in range(SWEEPS):
        order.reverse()
        before = list(least.values())
        for name, part in order:
            least[name] = min(least[name], length(part, lambda one: least.get(key(one), 1)))
        if before == list(least.values()):
            break
    return max(least.values())


def _regex(text: str) -> float:
    return len(text) * float(prod(min(int(count[1][:9]) or 1, MOST) for count in COUNT.finditer(text)))


def _number(value: Any) -> float:
    return float(min(value, 1 << 40)) if isinstance(value, int | float) and value > 0 else 0.0


def _times(count: float, each: float) -> float:
    return count * each if count else 0.0
