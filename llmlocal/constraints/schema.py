"""JSON schemas: which keywords can be followed, and where one cannot."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

from ..errors import UsageError
from ..text import escaped
from .certain_text import schema_may_be_long, unforced
from .validity import problem

# Keywords whose values are schemas: by name, in a list, or one.
NAMED = ("properties", "patternProperties")
LISTED = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
SINGLE = ("items", "additionalItems", "additionalProperties")
FOLLOWED = {
    *(*NAMED, *LISTED, *SINGLE, "type", "enum", "const", "$ref", "required", "minItems", "maxItems", "minLength"),
    *("maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minProperties", "maxProperties"),
}
# They describe and allow everything: an answer is valid without them.
DESCRIBE = {
    *("$schema", "$id", "id", "$anchor", "$comment", "$defs", "definitions", "title", "description", "default"),
    *("example", "examples", "deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType"),
}
# Words of JSON Schema and OpenAPI that would change what is allowed.
REFUSED = {
    *("not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems", "propertyNames"),
    *("dependencies", "dependentRequired", "dependentSchemas", "unevaluatedItems", "unevaluatedProperties"),
    *("$dynamicRef", "$recursiveRef", "$dynamicAnchor", "$recursiveAnchor", "contentSchema", "nullable"),
    *("discriminator", "extends", "disallow", "divisibleBy"),
}
LAYOUT = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
OPTIONS: Any = {**LAYOUT, "lenient": False, "coerce_one_of": False}
OVERLAP = "the alternatives of oneOf may overlap; anyOf allows any of them"
MAX_DEPTH = 100
INDEX = re.compile("[0-9]{1,9}")  # of a list in a JSON pointer


def compiled(schema: Mapping[str, Any] | bool, name: str) -> str:
    """A schema in llguidance's notation. Raises UsageError that names the place of what cannot be followed."""
    if schema is False:
        raise UsageError(f"{name} is false, which allows no value")
    whole: dict[str, Any] = {} if schema is True else dict(schema)
    places = list(_reachable(whole, "", set()))
    for at, part in places:
        _check_keywords(part, at, name)
    try:
        grammar = _grammar(json.dumps(whole))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: {escaped(str(error))}") from None
    if said := problem(grammar):
        said = OVERLAP if "coerce_one_of" in said else said
        raise UsageError(f"{name}, at {escaped(_wrong_place(whole, places)) or '/'}: {said}")
    return unforced(grammar) if may_be_long(whole) else grammar


def may_be_long(schema: Mapping[str, Any]) -> bool:
    """Whether a value of this schema may have more certain text than is looked for at once."""
    return schema_may_be_long(schema, partial(_at, schema))


def is_larger(schema: Any, most: int) -> bool:
    """Whether a schema has more than `most` characters as JSON, about, without the texts of its descriptions."""
    size, todo = 0, [schema]
    while todo and size <= most:  # a value of Python may contain itself
        value = todo.pop()
        if isinstance(value, Mapping):
            size += sum(len(str(key)) + 4 for key in value)
            todo += (item for key, item in value.items() if not (key == "description" and isinstance(item, str)))
        elif isinstance(value, list):
            size += 2 * len(value)
            todo += value
        else:
            size += len(value) if isinstance(value, str) else 5
    return size > most


def _grammar(schema: str) -> str:
    from llguidance import LLMatcher  # here, as every start of run would wait for it

    return LLMatcher.grammar_from_json_schema(schema, overrides=OPTIONS)


def part_of(whole: Mapping[str, Any], at: str) -> Any:
    """The part of a schema at the JSON pointer `at`, which can stand alone."""
    part = _at(whole, at)
    if not (isinstance(part, Mapping) and '"$ref"' in json.dumps(part)):
        return part
    return {"$ref": f"#/$defs/whole{at}", "$defs": {"whole": _moved(whole)}}


def _wrong_place(whole: Mapping[str, Any], places: list[tuple[str, Mapping[str, Any]]]) -> str:
    """The JSON pointer of the last of the parts `places` that is wrong by itself, empty where none is."""
    moved = json.dumps(_moved(whole))
    draft = {key: whole[key] for key in ("$schema",) if key in whole}
    for at, part in places[::-1]:
        alone = json.dumps({**part, **draft})
        if '"$ref"' in alone:  # only such a part needs the whole beside it, which takes long where there are many
            pointer = json.dumps(f"#/$defs/whole{at}")
            alone = f'{{"$ref": {pointer}, "$defs": {{"whole": {moved}}}}}'
        if problem(_grammar(alone)):
            return at
    return ""


def _check_keywords(schema: Mapping[str, Any], at: str, name: str) -> None:
    for keyword in schema:
        if keyword in FOLLOWED or keyword in DESCRIBE or keyword.startswith("x-"):
            continue
        where = f"{escaped(keyword)!r} at {escaped(at) or '/'}"
        if keyword in REFUSED:
            raise UsageError(f"{name}: the keyword {where} is not supported", "leave it out, or say it in other words")
        near = get_close_matches(keyword, [*FOLLOWED, *DESCRIBE, *REFUSED], 1)
        hint = f"did you mean {near[0]}?" if near else "JSON Schema has no such keyword; your own begin with x-"
        raise UsageError(f"{name}: there is no keyword {where}", hint)


def _reachable(schema: Any, at: str, seen: set[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The schemas within a schema that may be applied, each after those that contain it, with their JSON pointers."""
    todo = [(at, schema)]
    while todo:
        at, part = todo.pop()
        if at in seen or not isinstance(part, Mapping) or at.count("/") > MAX_DEPTH:
            continue
        seen.add(at)
        yield at, part
        for keyword, value in part.items():
            here = f"{at}/{_escaped_key(keyword)}"
            if keyword in NAMED and isinstance(value, Mapping):
                todo += [(f"{here}/{_escaped_key(key)}", item) for key, item in value.items()]
            elif keyword in LISTED and isinstance(value, list):
                todo += [(f"{here}/{i}", item) for i, item in enumerate(value)]
            elif keyword in SINGLE:
                todo.append((here, value))
            elif keyword == "$ref" and isinstance(value, str) and value.startswith("#/"):
                todo.append((value[1:], _at(schema, value[1:])))


def _escaped_key(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _at(schema: Any, pointer: str) -> Any:
    """The value at a JSON pointer, None where there is none."""
    from urllib.parse import unquote

    for key in unquote(pointer).split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        if isinstance(schema, list):
            schema = schema[int(key)] if INDEX.fullmatch(key) and int(key) < len(schema) else None
        else:
            schema = schema.get(key) if isinstance(schema, Mapping) else None
    return schema


def _moved(value: Any) -> Any:
    """A schema whose references are to its place within another one."""
    if isinstance(value, list):
        return [_moved(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: f"#/$defs/whole{item[1:]}" if key == "$ref" and isinstance(item, str) and item[:1] == "#" else _moved(item)
        for key, item in value.items()
        if key not in ("$id", "id")
    }
