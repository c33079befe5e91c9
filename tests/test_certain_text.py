"""Forms that make more text certain than can be looked for at once are followed token by token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from llmlocal.chat_format import call_grammar
from llmlocal.constraints.certain_text import regex_may_be_long, rules_may_be_long
from llmlocal.constraints.gbnf import rules_of
from llmlocal.constraints.grammar import Grammar, of_grammar, of_regex, of_schema
from llmlocal.constraints.matcher import Matcher
from llmlocal.constraints.schema import may_be_long
from llmlocal.constraints.token_table import byte_table

DOUBLED = "".join(f"r{i} ::= r{i + 1} r{i + 1} | r0\n" for i in range(60)) + 'r60 ::= "a"\nroot ::= r0\n'
PAIRS: dict[str, Any] = {
    f"r{i}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/r{i + 1}"}] * 2, "items": False, "minItems": 2}
    for i in range(40)
}
LONG: list[tuple[Callable[[Any], Grammar], Callable[[Any], bool], Any, str]] = [
    (of_regex, regex_may_be_long, "(a{1000}){1000}", "a"),
    (of_grammar, lambda text: rules_may_be_long(rules_of(text, "g")), 'root ::= (("a"{9999}){9999}){9999}', "a"),
    (of_grammar, lambda text: rules_may_be_long(rules_of(text, "g")), DOUBLED, "a"),
    (of_schema, may_be_long, {"type": "array", "items": {"const": "ab"}, "minItems": 10**9}, "["),
    (
        of_schema,
        may_be_long,
        {"anyOf": [{"type": "array", "items": {"const": 1}, "minItems": 10**9}, {"const": 1}]},
        "1[",
    ),
    (of_schema, may_be_long, {"$ref": "#/$defs/r0", "$defs": {**PAIRS, "r40": {"const": 1}}}, "["),
]
SHORT: list[tuple[Callable[[Any], bool], Any]] = [
    (regex_may_be_long, r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[^x]{0,60000}"),
    (lambda text: rules_may_be_long(rules_of(text, "g")), 'root ::= "[" (root ("," root){0,9999})? "]" | "a"{100}'),
    (may_be_long, {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"maxItems": 10**9}}, "required": ["b"]}),
    (may_be_long, {"anyOf": [{"type": "array", "items": {"$ref": "#"}, "minItems": 2}, {"type": "integer"}]}),
]


@pytest.mark.parametrize(("made", "is_long", "form", "first"), LONG)
def test_long_certain_text_is_not_looked_for(
    made: Callable[[Any], Grammar], is_long: Callable[[Any], bool], form: Any, first: str
) -> None:
    """What llguidance would do for hours, or until memory ends."""
    assert is_long(form)
    matcher = Matcher(byte_table(), made(form).compiled)
    allowed = np.flatnonzero(np.isfinite(matcher.masked(np.zeros(byte_table().vocab_size, np.float32))))
    assert {*map(chr, allowed)} == {*first} and not matcher.forced()


@pytest.mark.parametrize(("is_long", "form"), SHORT)
def test_ordinary_forms_go_on_having_certain_text(is_long: Callable[[Any], bool], form: Any) -> None:
    assert not is_long(form)


def test_arguments_of_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SimpleNamespace(grammar=lambda *_: "start: /a/")
    monkeypatch.setattr(call_grammar, "_Writer", lambda *_: writer)

    def written(schema: Mapping[str, Any]) -> str:
        functions = [call_grammar.Function("f", {"type": "object", "properties": {"a": schema}, "required": ["a"]})]
        return call_grammar.lark(None, functions, None, one=True)  # type: ignore[arg-type]

    assert "no_forcing" in written({"type": "array", "items": {"const": 1}, "minItems": 10**9})
    assert "no_forcing" not in written({"type": "string"})
