"""str's methods for text with origin.

Each takes the budget, the text and the method's arguments and returns what Python's method returns. Moved characters
keep their origin; new text made from user text counts as user text as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .budget import Budget, OverBudgetError
from .origin import Marked, Safe, joined, mark_user, mask_of, plain, with_mask

DIRECTIVE = re.compile(r"%(?:\([^()]*\))?[#0\- +]*+(?P<width>\*|\d*+)(?:\.(?P<precision>\*|\d*+))?[hlL]?[a-zA-Z%]")
HTML = re.compile("[&<>'\"]")
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&#34;"}
LONGEST_ESCAPE = len(r"\U0010ffff")  # a character in %r and %a
FEW_CHARS, SHORT = 64, 16  # up to here Python's own methods are fast although they search for each character
WIDE = re.compile(r"\d{4}|\*")
NUMBER = re.compile(r"\d+")
NESTED = re.compile(r"%\([^)]*\(")  # Python counts the brackets in a name; DIRECTIVE would lose its place
# fmt: off
QUERIES = (
    "startswith", "endswith", "find", "index", "count", "isalnum", "isalpha", "isascii", "isdecimal",
    "isdigit", "isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle", "isupper",
)
# fmt: on
CASES = ("upper", "lower", "title", "capitalize", "swapcase", "casefold")
PADS = ("ljust", "rjust", "center", "zfill")


def text_of(budget: Budget, value: Any) -> str:
    """str() of a value that a template may write out."""
    if isinstance(value, str):
        return value
    text = budget.hold(str(value))
    return mark_user(text) if budget.is_marked(value) else text


def escaped(budget: Budget, text: str) -> Safe:
    """`text` as HTML; unchanged where it already is."""
    if isinstance(text, Safe):
        return text
    pieces: list[str] = []
    at = 0
    for found in budget.each(HTML.finditer(text)):
        entity = ENTITIES[found[0]]
        pieces += [text[at : found.start()], with_mask(entity, mask_of(text[found.start()]) * len(entity))]
        at = found.end()
    return Safe.of(joined([*pieces, text[at:]]))


def added(budget: Budget, left: str, right: str) -> str:
    """`left + right`."""
    if isinstance(left, Safe) or isinstance(right, Safe):
        return Safe.of(joined((escaped(budget, left), escaped(budget, right))))
    return joined((left, right))


def as_made_from(budget: Budget, text: str, sources: Iterable[Any]) -> str:
    """`text`, the result of an operation on `sources`; user text where it lost its origin and a source is user text."""
    if isinstance(text, Marked) or any(text is source for source in sources):
        return text
    return mark_user(text) if any(map(budget.is_marked, sources)) else plain(text)


def strip(budget: Budget, text: str, chars: str | None = None) -> str:
    return rstrip(budget, lstrip(budget, text, chars), chars)


def lstrip(budget: Budget, text: str, chars: str | None = None) -> str:
    if chars is None or len(chars) <= FEW_CHARS:
        return text[len(text) - len(str.lstrip(text, chars)) :]
    strange = _first_outside(budget, plain(text), chars)
    return text[strange:]


def rstrip(budget: Budget, text: str, chars: str | None = None) -> str:
    if chars is None or len(chars) <= FEW_CHARS:
        return text[: len(str.rstrip(text, chars))]
    return text[: len(text) - _first_outside(budget, plain(text)[::-1], chars)]


def _first_outside(budget: Budget, text: str, chars: str) -> int:
    """Index of the first character that is not among `chars`; the length of the text where all are."""
    among = set(plain(chars))
    return next((i for i, char in enumerate(budget.each(text)) if char not in among), len(text))


def removeprefix(budget: Budget, text: str, prefix: str) -> str:
    return text[len(prefix) :] if text.startswith(prefix) else text


def removesuffix(budget: Budget, text: str, suffix: str) -> str:
    return text[: len(text) - len(suffix)] if text.endswith(suffix) else text


def split(budget: Budget, text: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
    return _found(budget, text, str.split(text, sep, maxsplit), sep)


def rsplit(budget: Budget, text: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
    if sep is None or len(sep) <= SHORT:
        pieces = str.rsplit(text, sep, maxsplit)
    else:
        pieces = [piece[::-1] for piece in plain(text)[::-1].split(plain(sep)[::-1], maxsplit)][::-1]
    return _found(budget, text, pieces, sep)


def _found(budget: Budget, text: str, pieces: list[str], sep: str | None) -> list[str]:
    """The pieces as slices of `text`, from which they were split."""
    if not isinstance(text, Marked):
        return pieces
    found, at = [], 0
    for piece in budget.each(pieces):
        at = text.find(piece, at)  # with a separator it is right there; without, only whitespace precedes it
        found.append(text[at : at + len(piece)])
        at += len(piece) + len(sep or "")
    return found


def splitlines(budget: Budget, text: str, keepends: bool = False) -> list[str]:
    lines, at = [], 0
    for whole, line in budget.each(zip(str.splitlines(text, True), str.splitlines(text, keepends), strict=True)):
        lines.append(text[at : at + len(line)])
        at += len(whole)
    return lines


def partition(budget: Budget, text: str, sep: str) -> tuple[str, str, str]:
    before, found, _ = str.partition(text, sep)
    cut = len(before) + len(found)
    return text[: len(before)], text[len(before) : cut], text[cut:]


def rpartition(budget: Budget, text: str, sep: str) -> tuple[str, str, str]:
    at = rfind(budget, text, sep) if sep else text.rindex(sep)
    return ("", "", text) if at < 0 else (text[:at], text[at : at + len(sep)], text[at + len(sep) :])


def rfind(budget: Budget, text: str, sub: str, *span: int | None) -> int:
    """Python's own searches from the end in quadratic time; from the start it does not."""
    if len(sub) <= SHORT:
        return str.rfind(text, sub, *span)
    start, end, _ = slice(*(*span, None, None)[:2]).indices(len(text))
    at = plain(text)[start:end][::-1].find(plain(sub)[::-1])
    return -1 if at < 0 else end - at - len(sub)


def rindex(budget: Budget, text: str, sub: str, *span: int | None) -> int:
    at = rfind(budget, text, sub, *span)
    if at < 0:
        raise ValueError("substring not found")
    return at


def replace(budget: Budget, text: str, old: str, new: str, count: int = -1) -> str:
    n = text.count(old) if count < 0 else min(count, text.count(old))
    budget.allow(len(text) + n * (len(new) - len(old)))
    result = str.replace(text, old, new, count)
    if not isinstance(text, Marked) and (not isinstance(new, Marked) or not n):
        return result
    if not old:
        return mark_user(result)
    return joined_with(new, _found(budget, text, str.split(text, old, n), old))


def join(budget: Budget, sep: str, values: Iterable[str]) -> str:
    pieces, size = [], 0
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"sequence item {len(pieces)}: expected str instance, {type(value).__name__} found")
        pieces.append(value)
        size += len(value) + len(sep)
        budget.allow(size)
    return joined_with(sep, pieces)


def joined_with(sep: str, pieces: list[str]) -> str:
    """`sep.join(pieces)`, each character keeping its origin."""
    text = plain(sep).join(pieces)
    if not any(isinstance(piece, Marked) for piece in (sep, *pieces)):
        return text
    return with_mask(text, mask_of(sep).join(map(mask_of, pieces)))


def percent(budget: Budget, text: str, values: Any) -> str:
    """`text % values`."""
    directives = list(DIRECTIVE.finditer(text))
    if NESTED.search(text) or any(WIDE.search(number or "") for found in directives for number in found.groups()):
        raise OverBudgetError("it asks for a format that is too wide")
    widths = sum(int(number or 0) for found in directives for number in found.groups())
    times = len(directives) if isinstance(values, Mapping) else 1
    budget.allow(len(text) + widths + times * LONGEST_ESCAPE * budget.size(values))
    whole: str = plain(text) % values
    budget.hold(whole)
    if isinstance(text, Marked):
        return mark_user(whole)
    if not budget.is_marked(values):
        return whole
    rest = iter(values if isinstance(values, tuple) else (values,))
    pieces, at = [], 0
    for found in budget.each(directives):
        pieces.append(text[at : found.start()])
        pieces.append(_formatted(budget, found[0], values, rest))
        at = found.end()
    pieces.append(text[at:])
    return joined(pieces) if "".join(pieces) == whole else mark_user(whole)


def _formatted(budget: Budget, directive: str, values: Any, rest: Iterable[Any]) -> str:
    """The result of one directive of a %-format."""
    if directive.endswith("%"):
        return "%"
    if directive.startswith("%(") and isinstance(values, Mapping):
        return mark_user(directive % values)
    value = next(iter(rest), None)
    if directive == "%s":
        return text_of(budget, value)
    result: str = directive % (value,)
    return mark_user(result) if budget.is_marked(value) else result


def _cased(name: str) -> Callable[..., str]:
    method = getattr(str, name)

    def cased(budget: Budget, text: str) -> str:
        result: str = method(text)
        if not isinstance(text, Marked):
            return result
        return with_mask(result, text.mask) if len(result) == len(text) else mark_user(result)

    return cased


def _padded(name: str) -> Callable[..., str]:
    method = getattr(str, name)

    def padded(budget: Budget, text: str, width: int, *fill: str) -> str:
        budget.allow(width)
        result: str = method(text, width, *fill)
        return mark_user(result) if any(isinstance(part, Marked) for part in (text, *fill)) else result

    return padded


def _query(name: str) -> Callable[..., Any]:
    method = getattr(str, name)

    def query(budget: Budget, text: str, *args: Any) -> Any:
        return method(text, *args)

    return query


METHODS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        *(strip, lstrip, rstrip, removeprefix, removesuffix, split, rsplit, splitlines, partition, rpartition),
        *(replace, join, rfind, rindex),
    )
}
METHODS |= {name: _cased(name) for name in CASES}
METHODS |= {name: _padded(name) for name in PADS}
METHODS |= {name: _query(name) for name in QUERIES}
