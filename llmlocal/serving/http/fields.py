"""JSON from clients, read strictly: every field has a type and a range, and one that nobody reads is refused."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from math import isfinite
from typing import Any

from .errors import ApiError, refused

DEPTH = 64  # of nested arrays and objects
LISTED = 8192  # items of a list, unless a field has a limit of its own
SURROGATES = re.compile("[\ud800-\udfff]")
MANY = 1 << 31
SIMILAR = 0.8  # of two names, one of which may be meant by the other
LARGEST = sys.float_info.max


class Fields:
    """An object of a request; `where` is its place in the body. A field that is null is as if it were not there."""

    def __init__(self, values: Mapping[str, Any], where: str = "") -> None:
        self._values, self._where = values, where
        self._left = {name for name, value in values.items() if value is not None}
        self._known = set[str]()  # names to offer where one is misspelt

    def place(self, name: str) -> str:
        """The full name of a field."""
        return f"{self._where}.{name}" if self._where else name

    def any(self, name: str) -> Any:
        """A field of any type, None where it is missing."""
        self._left.discard(name)
        self._known.add(name)
        return self._values.get(name)

    def text(self, name: str, most: int | None = None) -> str | None:
        """A string of at most `most` characters."""
        value: str | None = self._of(str, name, "a string")
        if value is not None and most is not None and len(value) > most:
            raise refused(self.place(name), f"must have {most} characters at most")
        return value

    def required_text(self, name: str) -> str:
        """A string that must be there."""
        return str(self._present(name, self.text(name)))

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self._of(bool, name, "true or false")
        return default if value is None else bool(value)

    def whole(self, name: str, least: int = 0, most: int = MANY) -> int | None:
        """A whole number."""
        value: int | None = self._of(int, name, "a whole number")
        self._check(name, value, least, most)
        return value

    def number(self, name: str) -> float | None:
        """A number."""
        value = self._of((int, float), name, "a number")
        self._check(name, value, -LARGEST, LARGEST)
        return None if value is None else float(value)

    def choice(self, name: str, words: Sequence[str]) -> str | None:
        """One of `words`."""
        value = self.text(name)
        if value is not None and value not in words:
            raise refused(self.place(name), f"must be one of {', '.join(words)}")
        return value

    def required_choice(self, name: str, words: Sequence[str]) -> str:
        """One of `words` that must be there."""
        return str(self._present(name, self.choice(name, words)))

    def list(self, name: str, most: int = LISTED) -> list[Any] | None:
        """An array of at most `most` items."""
        value: list[Any] | None = self._of(list, name, "an array")
        if value is not None and len(value) > most:
            raise refused(self.place(name), f"must have {most} items at most")
        return value

    def objects(self, name: str, most: int = LISTED) -> Iterator[Fields]:
        """The items of an array of objects; none where the field is missing."""
        for i, item in enumerate(self.list(name, most) or ()):
            yield of_object(item, f"{self.place(name)}[{i}]")

    def object(self, name: str) -> Fields | None:
        """An object."""
        value = self.any(name)
        return None if value is None else of_object(value, self.place(name))

    def required_object(self, name: str) -> Fields:
        """An object that must be there."""
        return of_object(self.required(name), self.place(name))

    def mapping(self, name: str) -> dict[str, Any] | None:
        """An object as it is, such as a schema."""
        value: dict[str, Any] | None = self._of(dict, name, "an object")
        return value

    def required(self, name: str) -> Any:
        """A field of any type that must be there."""
        return self._present(name, self.any(name))

    def unless(self, name: str, harmless: Sequence[Any], message: str) -> None:
        """Refuse a field that is not supported, but for the values that ask for nothing."""
        value = self.any(name)
        self._known.discard(name)
        if value is not None and not any(type(value) is type(h) and value == h for h in harmless):
            raise refused(self.place(name), message, "unsupported_parameter")

    def ignore(self, *names: str) -> None:
        """Accept fields that do not change the answer."""
        self._left.difference_update(names)

    def done(self) -> None:
        """Refuse the fields that were not read. Raises ApiError that names one of them."""
        if self._left:
            name = min(self._left)[:100]
            near = get_close_matches(name, sorted(self._known), 1, SIMILAR)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise refused(self.place(name)[:100], f"this field is not supported{hint}", "unknown_parameter")

    def _present(self, name: str, value: Any) -> Any:
        if value is None:
            raise refused(self.place(name), "is missing", "missing_required_parameter")
        return value

    def _of(self, kind: type | tuple[type, ...], name: str, said: str) -> Any:
        value = self.any(name)
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise refused(self.place(name), f"must be {said}")
        return value

    def _check(self, name: str, value: float | None, least: float, most: float) -> None:
        if value is None or least <= value <= most:
            return
        bounds = f"{least:g} or more" if most == MANY else f"between {least:g} and {most:g}"
        raise refused(self.place(name), f"must be {bounds}")


def of_object(value: Any, where: str) -> Fields:
    """The fields of `value`, which must be an object."""
    if not isinstance(value, dict):
        raise refused(where, "must be an object")
    return Fields(value, where)


def parsed(data: bytes) -> Fields:
    """The fields of a request's body. Raises ApiError where it is not an object of JSON."""
    try:
        value = json.loads(data, parse_constant=_no_number, parse_float=_finite)
        value = _clean(value, DEPTH)
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else "not valid JSON in UTF-8"
        raise ApiError(400, f"the body is {said}", None, "invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object", None, "invalid_json")
    return Fields(value)


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(text)
    return value


def _no_number(text: str) -> None:
    raise ValueError(text)


def _clean(value: Any, depth: int) -> Any:
    """`value` without halves of characters. Raises RecursionError for what is nested too deeply."""
    if isinstance(value, str):
        return value if value.isascii() else SURROGATES.sub("\ufffd", value)
    if not isinstance(value, dict | list):
        return value
    if not depth:
        raise RecursionError
    if isinstance(value, list):
        return [_clean(item, depth - 1) for item in value]
    return {_clean(key, 1): _clean(item, depth - 1) for key, item in value.items()}
