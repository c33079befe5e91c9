"""The form of answers as users ask for it: at most one of a schema, a grammar, a regular expression, any object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..errors import UsageError
from ..files.small_file import read_small_text
from ..text import escaped, shown
from .grammar import Grammar, of_any_object, of_grammar, of_regex, of_schema

LOOKS_LIKE_FILE = (".json", ".schema")
MAX_FILE = 1 << 20  # bytes, descriptions and comments included


def requested(
    schema: str | None = None, grammar: Path | None = None, regex: str | None = None, json_object: bool = False
) -> Grammar | None:
    """The form that the options ask for; None where there is none.

    `schema` is JSON, the path of a file, or in the concise notation. Raises UsageError for several of them and for what
    is wrong in one, NotFoundError for a file that is missing, BadFileError for one that cannot be read.
    """
    options = {"--schema": schema, "--grammar": grammar, "--regex": regex, "--json-object": json_object or None}
    given = [name for name, value in options.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} cannot be combined", "an answer has one form")
    if schema is not None:
        return _of_file(schema) if _is_file(schema) else of_text(schema)
    if grammar is not None:
        return of_grammar(read_small_text(grammar, MAX_FILE), escaped(str(grammar)))
    if regex is not None:
        return of_regex(regex)
    return of_any_object() if json_object else None


def of_text(text: str) -> Grammar:
    """The form of a schema as JSON or in the concise notation. Raises UsageError."""
    if _is_json(text):
        return of_schema(schema_of(text, "the schema"))
    from .concise import schema

    return of_schema(schema(text))


def _of_file(text: str) -> Grammar:
    name = escaped(text)
    return of_schema(schema_of(read_small_text(Path(text), MAX_FILE), name), name)


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] == "{" or text.strip() in ("true", "false")


def schema_of(text: str, name: str) -> Mapping[str, Any] | bool:
    """A JSON schema from its text. Raises UsageError for what is not JSON, or no schema."""

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not valid JSON")

    try:
        found = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not JSON: {escaped(str(error))}") from None
    if not isinstance(found, dict | bool):
        raise UsageError(f"{name} is {shown(json.dumps(found))}: a schema is an object, true or false")
    return found


def _is_file(text: str) -> bool:
    if _is_json(text):
        return False
    if text.endswith(LOOKS_LIKE_FILE) or "/" in text:
        return True
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False
