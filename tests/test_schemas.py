"""Schemas as users write them, JSON and concise: what they mean, and how mistakes in them are told."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from llmlocal.constraints.concise import schema as concise
from llmlocal.constraints.grammar import of_schema
from llmlocal.constraints.requested import of_text, requested
from llmlocal.errors import LlmlocalError, UsageError


@pytest.mark.parametrize(
    ("schema", "parts"),
    [
        ('{"not": {}}', "'not' at /"),
        ('{"properties": {"a": {"items": {"uniqueItems": true}}}}', "'uniqueItems' at /properties/a/items"),
        ('{"$ref": "#/$defs/x", "$defs": {"x": {"if": {}}}}', "'if' at /$defs/x"),
        ('{"anyOf": [{}, {"minLenght": 3}]}', "'minLenght' at /anyOf/1"),
        ('{"nullable": true}', "'nullable' at /"),
        ('{"properties": {"a/b": {"type": "string", "format": "foo"}}}', "at /properties/a~1b: Unknown format: foo"),
        ('{"$ref": "#/$defs/k", "$defs": {"k": {"type": "string", "pattern": "[a"}}}', "at /$defs/k: invalid regular"),
        ('{"oneOf": [{"type": "number"}, {"type": "integer"}]}', "oneOf may overlap; anyOf"),
        ('{"type": "integer", "minimum": 5, "maximum": 3}', "Unsatisfiable"),
        ('{"$ref": "#/nope"}', "'/nope' does not exist"),
        ('{"$ref": "https://example.org/x"}', "is not present"),
        ('{"$ref": "#"}', "no text has this form"),
        ('{"x-guidance": {"lenient": true}, "not": {}}', "'not' at /"),
        ("false", "allows no value"),
        ('{"type": "string"', "is not JSON"),
        ('{"a": NaN}', "NaN is not valid JSON"),
        ("[" * 5000, "is not a field"),
        ('{"a":' * 5000, "is not JSON"),
        ("name foo", "unknown type 'foo'"),
        ("1a", "'1a' is not a field"),
        ("a, a", "two fields a"),
        (" , ", "is empty"),
        (json.dumps({"enum": ["x" * 1000] * 70}), "has more than the 65536 characters"),
        (", ".join(f"field_number_{i}" for i in range(3000)), "has more than the 65536 characters"),
    ],
)
def test_mistakes_in_schemas(schema: str, parts: str) -> None:
    with pytest.raises(UsageError) as caught:
        of_text(schema)
    assert parts in str(caught.value) and "\n" not in str(caught.value)


def test_descriptions_do_not_count_for_the_size_of_a_schema(tmp_path: Any) -> None:
    path = tmp_path / "long.json"
    path.write_text(json.dumps({"type": "null", "description": "x" * 70_000}))
    form = requested(schema=str(path))
    assert form is not None and form.matches("null")
    whole: dict[str, Any] = {"type": "object"}
    whole["properties"] = {"a": whole}
    with pytest.raises(UsageError, match="more than the 65536"):
        of_schema(whole)


def test_concise_schemas() -> None:
    assert concise("a, b int: how many, c [float], d? x|y") == {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "b": {"type": "integer", "description": "how many"},
            "c": {"type": "array", "items": {"type": "number"}},
            "d": {"enum": ["x", "y"]},
        },
        "required": ["a", "b", "c"],
        "additionalProperties": False,
    }
    assert concise("a: one, two\nb bool\n")["properties"]["a"]["description"] == "one, two"
    assert concise(" a  [ [int ] ] ")["properties"]["a"]["items"] == {"type": "array", "items": {"type": "integer"}}


@pytest.mark.parametrize(
    ("text", "told"), [("a " + "[" * 5000 + "]" * 5000, "within each other"), ("a b" + " " * 90_000 + "c", "type 'b ")]
)
def test_concise_schemas_that_would_take_long(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        of_text(text)


def test_one_form_at_a_time(tmp_path: Any) -> None:
    (tmp_path / "bad").write_bytes(b"\xff")
    for options in (
        {"regex": "a", "json_object": True},
        {"schema": "a", "grammar": tmp_path / "bad"},
        {"grammar": tmp_path / "bad"},
        {"grammar": tmp_path / "none"},
        {"grammar": tmp_path},
        {"schema": str(tmp_path / "none.json")},
    ):
        with pytest.raises(LlmlocalError):
            requested(**cast(Any, options))
    (tmp_path / "s.json").write_text('{"type": "null"}')
    form = requested(schema=str(tmp_path / "s.json"))
    assert form is not None and form.matches("null") and requested() is None


@pytest.mark.parametrize("schema", [{"type": "a b"}, {"nosuch": 1}, {"if": {}}])
def test_places_with_control_characters_are_told_in_a_line(schema: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"at /properties/\\x1b\[2J\\n") as caught:
        of_schema({"type": "object", "properties": {"\x1b[2J\n": schema}})
    assert str(caught.value).isprintable()
