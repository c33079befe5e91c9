"""Schemas in a line: `name, age int, tags [str]`."""

from __future__ import annotations

import re
from typing import Any

from ..errors import UsageError
from ..text import shown

TYPES = {
    "str": "string",
    "string": "string",
    "text": "string",
    "int": "integer",
    "integer": "integer",
    "float": "number",
    "number": "number",
    "bool": "boolean",
    "boolean": "boolean",
}
MAX_DEPTH = 32  # of lists within each other
FIELD = re.compile(r"([^\W\d][\w-]*)(\?)?\s*(.*)", re.DOTALL)
WORDS = re.compile(r"[^\s|,:\[\]]+(\|[^\s|,:\[\]]+)+")
HINT = "such as 'name, age int, tags [str], mood good|bad, note? str: what else there is'"


def schema(text: str) -> dict[str, Any]:
    """The schema of an object: fields, separated by commas or line feeds, each with a type and a description.

    `name [type][: description]`; without a type it is a text. Types are str, int, float, bool, a list of one of them
    such as [int], and words to choose from, a|b|c. A field with ? after its name may be left out. Raises UsageError.
    """
    properties: dict[str, Any] = {}
    required = []
    for part in (part for part in re.split(r"\n" if "\n" in text.strip() else ",", text) if part.strip()):
        field, _, description = part.partition(":")
        found = FIELD.fullmatch(field.strip())
        if found is None:
            raise UsageError(f"{shown(field.strip())} is not a field of a schema", HINT)
        name, optional, type = found.groups()
        if name in properties:
            raise UsageError(f"the schema has two fields {name}")
        properties[name] = _type(type, name) | ({"description": description.strip()} if description.strip() else {})
        if not optional:
            required.append(name)
    if not properties:
        raise UsageError("the schema is empty", HINT)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _type(text: str, name: str) -> dict[str, Any]:
    depth = 0
    while text.startswith("[") and text.endswith("]"):
        depth, text = depth + 1, text[1:-1].strip()
    if depth > MAX_DEPTH:
        raise UsageError(f"the field {name} of the schema has more than {MAX_DEPTH} lists within each other", HINT)
    if depth:
        made = _type(text, name)
        for _ in range(depth):
            made = {"type": "array", "items": made}
        return made
    if WORDS.fullmatch(text):
        return {"enum": text.split("|")}
    if text and text not in TYPES:
        raise UsageError(f"the field {name} of the schema has the unknown type {shown(text)}", HINT)
    return {"type": TYPES[text or "str"]}
