"""The form that a client wants an answer to have: any JSON object, a schema, or a grammar."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..constraints.grammar import MAX_TEXT, Grammar, of_any_object, of_grammar, of_schema
from ..errors import UsageError
from ..tokenizer import Tokenizer
from .http.errors import ApiError, refused
from .http.fields import Fields

CODE = "invalid_schema"
WHOLE = ("json_schema", "grammar")  # llama.cpp's fields for the form of all that a model writes


@dataclass(frozen=True, slots=True)
class Form:
    """A form, not checked yet: `make` takes time. `place` is the field that it stands in."""

    place: str
    make: Callable[[], Grammar]

    def grammar(self, tokenizer: Tokenizer) -> Grammar:
        """The form, which this tokenizer can follow. Raises ApiError that says what is wrong with it."""
        try:
            made = self.make()
            made.start(tokenizer)  # also builds the table of this tokenizer, which takes time
        except UsageError as error:
            raise ApiError(400, f"{self.place}: {error}", self.place, CODE) from None
        return made


def response_format(fields: Fields) -> Form | None:
    """`response_format` of chats and texts, and llama.cpp's `json_schema` and `grammar`. Raises ApiError."""
    found = [_format(fields, "response_format"), _schema(fields, "json_schema"), _grammar(fields)]
    given = [form for form in found if form is not None]
    if len(given) > 1:
        raise refused(given[1].place, f"cannot be combined with {given[0].place}: an answer has one form")
    return given[0] if given else None


def text_format(fields: Fields) -> Form | None:
    """`text.format` of a response. Raises ApiError."""
    wanted = fields.object("text")
    if wanted is None:
        return None
    found = _format(wanted, "format", inner=False)
    wanted.unless("verbosity", ["medium"], "is not supported")
    wanted.done()
    return found


def output_format(config: Fields) -> Form | None:
    """`output_config.format`, as Anthropic writes it. Raises ApiError."""
    return _format(config, "format", inner=False)


def named_format(fields: Fields) -> Form | None:
    """`format`, as Ollama writes it: "json", or a schema. Raises ApiError."""
    wanted = fields.any("format")
    if wanted == "json":
        return Form("format", of_any_object)
    if wanted is None or wanted == "":
        return None
    return _schema(fields, "format")


def _format(fields: Fields, name: str, *, inner: bool = True) -> Form | None:
    """An object with a type: text, any JSON object, or a schema, which with `inner` stands in an object of its own."""
    wanted = fields.object(name)
    if wanted is None:
        return None
    kind = wanted.required_choice("type", ("text", "json_object", "json_schema"))
    if kind == "json_schema":
        holder = wanted.required_object("json_schema") if inner else wanted
        holder.required("schema")
        found = _schema(holder, "schema")
        holder.text("name", 128)
        holder.text("description")
        holder.flag("strict")  # the form holds, strict or not
        holder.done()
    elif kind == "json_object":
        found = _schema(wanted, "schema") or Form(wanted.place("type"), of_any_object)
    else:
        found = None
    wanted.done()
    return found


def _schema(fields: Fields, name: str) -> Form | None:
    schema: Mapping[str, Any] | None = fields.mapping(name)
    if schema is None:
        return None
    return Form(fields.place(name), partial(of_schema, schema))


def _grammar(fields: Fields) -> Form | None:
    text = fields.text("grammar", MAX_TEXT)
    return None if text is None else Form("grammar", partial(of_grammar, text))
