"""What all notations share: a call, what is declared about functions, and values as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ..tag_splitter import Span
from .literals import constant

NAME, ARGUMENTS, PAIRS = "NAME", "ARGUMENTS", "PAIRS"  # in `Family.form`: the name, a JSON object, or k=v, k=v


def _finite(text: str) -> float:
    """A number of JSON. Raises ValueError for one that JSON could not write again."""
    value = float(text)
    if not isfinite(value):
        raise ValueError("a number is not finite")
    return value


DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


@dataclass(frozen=True, slots=True)
class Call:
    """A function's name and its arguments by name."""

    name: str
    arguments: Mapping[str, Any]

    def message(self, id: str) -> dict[str, Any]:
        """As an entry of `tool_calls` in a message, in OpenAI's format."""
        return {
            "type": "function",
            "id": id,
            "function": {"name": self.name, "arguments": dict(self.arguments)},
        }


@dataclass(frozen=True, slots=True)
class Family:
    """The tags around calls of a family of models. `hint` is text that only its templates contain.

    Without `closes` the calls extend to the end of the answer; with `keep` the opening tag is a part of the call.
    `form` is a call with its tags, where NAME and ARGUMENTS or PAIRS stand for what is called; without it only the
    template shows how a call is written.
    """

    hint: str
    opens: str
    closes: str = ""
    keep: bool = False
    form: str = ""

    @property
    def span(self) -> Span:
        """The tags, for the splitter of answers."""
        return Span("call", self.opens, self.closes, keep=self.keep)

    def written(self, call: Call) -> str:
        """A call by `form`; empty without one."""
        pairs = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in call.arguments.items())
        arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
        return self.form.replace(NAME, call.name).replace(ARGUMENTS, arguments).replace(PAIRS, pairs)


@dataclass(frozen=True, slots=True)
class Declared:
    """The declared functions: their names, and which (function, argument) pairs are strings."""

    names: frozenset[str]
    texts: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, tools: Sequence[Mapping[str, Any]]) -> Declared:
        """From `tools` in OpenAI's format."""
        names, texts = set(), set()
        for tool in tools:
            function = tool.get("function", tool)
            names.add(str(function.get("name")))
            properties = function.get("parameters", {}).get("properties")
            for name, schema in (properties if isinstance(properties, Mapping) else {}).items():
                if is_text(schema):
                    texts.add((str(function.get("name")), name))
        return cls(frozenset(names), frozenset(texts))


def is_text(schema: Any) -> bool:
    """Whether a schema allows strings and nothing else, so that a notation with tags writes them without quotes."""
    return isinstance(schema, Mapping) and schema.get("type") == "string"


def mapping(value: Any) -> dict[str, Any]:
    """The arguments as a dict, parsed where they are JSON in a string. Raises ValueError for other values."""
    if isinstance(value, str):
        value = DECODER.decode(value)
    if not isinstance(value, Mapping):
        raise ValueError("arguments are not an object")
    return dict(value)


def tagged_value(text: str, is_text: bool) -> Any:
    """An argument between tags: unchanged for a string, otherwise parsed as JSON or a Python constant if possible."""
    text = text.removeprefix("\n").removesuffix("\n")
    if text.startswith("<![CDATA[") and text.endswith("]]>"):
        text = text[len("<![CDATA[") : -len("]]>")]
    if is_text:
        return text
    for read in (DECODER.decode, constant):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text
