"""The form that an answer must have: a schema, a grammar or a regular expression, checked before a model is opened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UsageError
from ..text import escaped

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer
    from .token_constraint import TokenConstraint

MAX_TEXT = 64 << 10  # characters of a schema (without descriptions), a grammar or a regex: a second of work, or a few


class Grammar(NamedTuple):
    """The texts that an answer may be. `compiled` is in llguidance's notation; `json`: each of them is a JSON value."""

    compiled: str
    json: bool = False

    def start(self, tokenizer: Tokenizer) -> TokenConstraint:
        """The constraint for one sequence, before its first token. Raises UsageError where it is too complex."""
        from .matcher import Matcher
        from .token_table import table_of

        return Matcher(table_of(tokenizer), self.compiled)

    def matches(self, text: str) -> bool:
        """Whether a whole text has the form; bytes that are not UTF-8 are surrogate escapes.

        It is read byte by byte, whatever the tokens were that it came from.
        """
        from .matcher import Matcher
        from .token_table import byte_table

        if self.json:
            try:
                json.loads(text)
            except (ValueError, RecursionError):
                return False
        return Matcher(byte_table(), self.compiled).accepts(text.encode("utf-8", "surrogateescape"))

    def value(self, text: str) -> Any:
        """What a text that matches says: of JSON the value, otherwise the text."""
        return json.loads(text) if self.json else text


def of_regex(text: str) -> Grammar:
    """Texts that match a regular expression from their first to their last character, in Rust's notation.

    Raises UsageError for one that is wrong or that no text matches.
    """
    from llguidance import LLMatcher

    from .certain_text import regex_may_be_long, unforced
    from .validity import problem

    compiled = LLMatcher.grammar_from_regex(_sized(text, "regular expression"))
    if said := problem(compiled):
        raise UsageError(f"the regular expression: {said.partition(': ')[2]}")
    return checked(Grammar(unforced(compiled) if regex_may_be_long(text) else compiled), "the regular expression")


def of_grammar(text: str, name: str = "the grammar") -> Grammar:
    """Texts of a grammar, in llama.cpp's notation GBNF or in llguidance's variant of Lark. Raises UsageError."""
    from llguidance import LLMatcher

    from .certain_text import rules_may_be_long, unforced
    from .gbnf import is_gbnf, rules_of
    from .lark import written
    from .lexemes import with_lexemes

    text = _sized(text, "grammar")
    if not is_gbnf(text):
        return checked(Grammar(LLMatcher.grammar_from_lark(unforced(text))), name)
    rules = rules_of(text, name)
    lark = written(with_lexemes(rules))
    return checked(Grammar(LLMatcher.grammar_from_lark(unforced(lark) if rules_may_be_long(rules) else lark)), name)


def of_schema(schema: Mapping[str, Any] | bool, name: str = "the schema") -> Grammar:
    """JSON values that a JSON schema allows, on one line, separated by ", " and ": " as `json.dumps` does it.

    Raises UsageError for a schema that is wrong, that has more than MAX_TEXT characters, that uses a keyword which is
    not supported, or that allows no value; the message names the place in the schema, as a JSON pointer.
    """
    from .schema import compiled, is_larger

    if is_larger(schema, MAX_TEXT):
        said = f"{name} has more than the {MAX_TEXT} characters, without descriptions, that can be followed"
        raise UsageError(said, "leave parts out, or write those that repeat once, with $ref")
    return checked(Grammar(compiled(schema, name), json=True), name)


def of_any_object() -> Grammar:
    """Any JSON object."""
    return of_schema({"type": "object"})


def checked(grammar: Grammar, name: str) -> Grammar:
    """`grammar`, if it can be followed. Raises UsageError where it is wrong, or where no text has its form."""
    import numpy as np

    from .matcher import Matcher
    from .token_table import byte_table
    from .validity import problem

    if said := problem(grammar.compiled):
        raise UsageError(f"{name}: {said}")
    try:
        matcher = Matcher(byte_table(), grammar.compiled)
        logits = matcher.masked(np.zeros(byte_table().vocab_size, np.float32))
    except UsageError as error:
        raise UsageError(f"{name}: {error}", error.hint) from None
    if not (np.isfinite(logits).any() or matcher.complete):
        raise UsageError(f"{name} allows no text at all")
    return grammar


def _sized(text: str, what: str) -> str:
    if len(text) > MAX_TEXT:
        raise UsageError(f"the {what} has {len(text)} characters: {MAX_TEXT} at most")
    if not text.strip("\n"):
        raise UsageError(f"the {what} is empty")
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise UsageError(f"the {what} is not valid UTF-8: {escaped(text[:40])}")
    return text
