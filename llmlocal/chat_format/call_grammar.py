"""The grammar of calls: what a model may write of the declared functions, in its own notation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..constraints.certain_text import unforced
from ..constraints.grammar import MAX_TEXT, of_schema
from ..constraints.schema import OPTIONS, is_larger, may_be_long, part_of
from ..errors import UsageError
from ..text import shown
from ..tokenizer import Tokenizer
from .call_shape import ID, MARKS, NUMBER, PROBE, JsonArguments, NamedArguments, Shape, read
from .notations.call import Call, is_text, tagged_value

WORD = re.compile(r"[\w.-]+")
FREE = {ID: "/[a-zA-Z0-9]{9}/", NUMBER: "/[0-9]{1,3}/"}
DESCRIBES = {"type", "title", "description", "default", "example", "examples", "deprecated", "$comment"}
COMBINED = ("allOf", "anyOf", "oneOf", "$ref", "patternProperties", "additionalProperties")
SHAPING = ("allOf", "anyOf", "oneOf", "$ref", "patternProperties", "minProperties", "maxProperties", "enum", "const")
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Function:
    """A declared function: its name and the schema of its arguments, an object."""

    name: str
    schema: Mapping[str, Any]

    @classmethod
    def of(cls, tool: Mapping[str, Any]) -> Function:
        """From a function in OpenAI's notation. Without `additionalProperties` only declared arguments are made."""
        function = tool.get("function", tool)
        schema = dict(function.get("parameters") or ANY_OBJECT)
        schema.setdefault("type", "object")
        if not any(keyword in schema for keyword in COMBINED):
            schema["additionalProperties"] = False
        return cls(str(function["name"]), schema)

    @property
    def tool(self) -> Mapping[str, Any]:
        """In OpenAI's notation."""
        return {"type": "function", "function": {"name": self.name, "parameters": self.schema}}

    def loose(self) -> Function:
        """The same function with any arguments: any text for those that are texts."""
        names = properties_of(self.schema)
        texts = {name: {"type": "string"} if is_text(schema) else {} for name, schema in names.items()}
        return Function(self.name, {"type": "object", "properties": texts, "required": required_of(self.schema)})


def properties_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The declared arguments and those that are only required, with their schemas."""
    declared = schema.get("properties")
    found: dict[str, Any] = dict(declared) if isinstance(declared, Mapping) else {}
    return {**found, **{name: {} for name in required_of(schema) if name not in found}}


def required_of(schema: Mapping[str, Any]) -> list[str]:
    """The names of arguments that must be given."""
    required = schema.get("required")
    return [name for name in required if isinstance(name, str)] if isinstance(required, list) else []


def check(function: Function, shape: Shape) -> None:
    """Raises UsageError where calls of a function cannot be held to its schema in a shape; the message says why."""
    what = f"the schema of the function {shown(function.name)}"
    of_schema(function.schema, what)
    if not _survives(shape, function):
        raise UsageError(f"the model's notation of calls has no way to write the function name {shown(function.name)}")
    if isinstance(shape.arguments, JsonArguments):
        return
    if shaping := next((keyword for keyword in SHAPING if keyword in function.schema), None):
        raise UsageError(f"{what}: '{shaping}' at / cannot be followed in the model's notation of calls")
    names = properties_of(function.schema)
    for name, schema in names.items():
        if not WORD.fullmatch(name):
            raise UsageError(f"{what}: the model's notation of calls has no way to write the name {shown(name)}")
        if is_text(schema) and not shape.arguments.quoted and (why := _unwritable(schema)):
            raise UsageError(f"{what}: {why} at /properties/{name} cannot be followed in the model's notation of calls")
    if shape.arguments.empty is None and not required_of(function.schema):
        raise UsageError(f"{what}: the model's notation of calls has no way to write no arguments")


def lark(shape: Shape, functions: Sequence[Function], tokenizer: Tokenizer, *, one: bool) -> str:
    """The grammar of one call, or several one after the other unless `one`, in llguidance's Lark.

    It begins with the opening tag. Raises UsageError where a token that ends answers would stand within it, or where
    the schemas are too large together.
    """
    if is_larger([function.schema for function in functions], MAX_TEXT):
        said = f"the schemas of the functions have more than {MAX_TEXT} characters, without descriptions"
        raise UsageError(said, "declare fewer functions")
    text = _Writer(shape, tokenizer).grammar(functions, one)
    return unforced(text) if any(may_be_long(function.schema) for function in functions) else text


def _survives(shape: Shape, function: Function) -> bool:
    """Whether a call is read with the name, and the names of arguments, that were written."""
    if not WORD.fullmatch(function.name):
        return False
    properties = {} if isinstance(shape.arguments, JsonArguments) else properties_of(function.schema)
    values = {name: "1" if is_text(schema) else 1 for name, schema in properties.items() if WORD.fullmatch(name)}
    call = Call(function.name, values)
    return read(shape.written(call), shape.span, [function.loose().tool]) == [call]


def _unwritable(schema: Mapping[str, Any]) -> str:
    """The keyword of a text's schema that cannot be followed where texts stand without quotes; empty without one."""
    for keyword in schema:
        if keyword not in {*DESCRIBES, "enum", "const", "minLength", "maxLength"} and not keyword.startswith("x-"):
            return f"'{keyword}'"
    for value in _choices(schema) or ():
        if not isinstance(value, str) or tagged_value(value, True) != value or re.search(r"[<>]", value):
            return "'enum'" if "enum" in schema else "'const'"
    return ""


def _choices(schema: Mapping[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


class _Writer:
    """Writes the rules of a grammar."""

    def __init__(self, shape: Shape, tokenizer: Tokenizer) -> None:
        self._shape, self._tokenizer, self._rules = shape, tokenizer, list[str]()
        self._layout: dict[str, Any] = dict(OPTIONS)
        if isinstance(shape.arguments, JsonArguments):
            self._layout |= {
                "item_separator": shape.arguments.item_separator,
                "key_separator": shape.arguments.key_separator,
            }

    def grammar(self, functions: Sequence[Function], one: bool) -> str:
        shape = self._shape
        for i, function in enumerate(functions):
            self._rule(f"a{i}", [self._arguments(function, i)])
            self._rule(f"h{i}", [f"{self._literal(shape.head, function)} a{i}"])
        first = " | ".join(f"h{i}" for i in range(len(functions)))
        more = ""
        if shape.between is not None and not one:
            between = shape.between
            more = self._rule("more", [f"{self._literal(between, f)} a{i}" for i, f in enumerate(functions)]) + "*"
        tail = self._literal(shape.tail, ends=True)
        self._rules.insert(0, f"start: ({first}) {more} {tail}")
        return "\n".join(["%llguidance {}", *self._rules, ""])

    def _rule(self, name: str, choices: Iterable[str], attribute: str = "") -> str:
        self._rules.append(f"{name}{attribute}: {' | '.join(choices)}")
        return name

    def _literal(self, text: str, function: Function | None = None, *, ends: bool = False) -> str:
        """A text of the shape; with `ends` a last token that ends the answer may be left out."""
        if function is not None:
            text = text.replace(PROBE, function.name)
        pieces: list[str] = []
        for piece in self._tokenizer.special_tokens.split(text, user_defined=False):
            if isinstance(piece, str):
                pieces += self._free(piece)
            elif piece in self._tokenizer.stop_ids:
                pieces.append("")
            else:
                pieces.append(f"<[{piece}]>")
        if ends and pieces and not pieces[-1]:
            pieces.pop()
        if not all(pieces):
            raise UsageError("a token that ends answers stands within the model's calls")
        return " ".join(pieces) or '""'

    def _free(self, text: str) -> Iterator[str]:
        """A text without special tokens, in which some characters stand for what the model makes up."""
        at = 0
        for found in MARKS.finditer(text):
            if text[at : found.start()]:
                yield quoted(text[at : found.start()])
            yield FREE[found[0]]
            at = found.end()
        if text[at:]:
            yield quoted(text[at:])

    def _json(self, schema: Any) -> str:
        whole = dict(schema) if isinstance(schema, Mapping) else ({} if schema else {"not": {}})
        return f"%json {json.dumps({**whole, 'x-guidance': self._layout})}"

    def _arguments(self, function: Function, i: int) -> str:
        if isinstance(self._shape.arguments, JsonArguments):
            return self._json(function.schema)
        return self._pairs(function, self._shape.arguments, f"p{i}")

    def _pairs(self, function: Function, named: NamedArguments, name: str) -> str:
        """Rules for what follows before each argument, by what stands before it: nothing, a text or another value."""
        properties = list(properties_of(function.schema).items())
        required = set(required_of(function.schema))
        befores = {"s": named.first, "t": named.after_text.removeprefix(named.end_text), "v": named.after_value}
        ends = {"s": named.empty, "t": "", "v": named.end_value}  # a text brings its end with it
        for j, (key, schema) in enumerate(properties):
            raw = is_text(schema) and not named.quoted
            value = f"{name}{j}"
            if raw:
                self._text(value, schema, named)
            else:
                declared = key in (function.schema.get("properties") or {})
                self._rule(value, [self._json(part_of(function.schema, f"/properties/{key}") if declared else schema)])
            for kind, before in befores.items():
                begins = self._literal(f"{before}{key}{named.text if raw else named.value}")
                choices = [f"{begins} {value} {name}{'t' if raw else 'v'}{j + 1}"]
                if key not in required:
                    choices.append(f"{name}{kind}{j + 1}")
                self._rule(f"{name}{kind}{j}", choices)
        for kind, end in ends.items():
            if end is not None:
                self._rule(f"{name}{kind}{len(properties)}", [self._literal(end)])
        return f"{name}s0"

    def _text(self, name: str, schema: Mapping[str, Any], named: NamedArguments) -> None:
        """A rule for a text that stands as it is, and what ends it."""
        choices = _choices(schema)
        if choices is not None:
            self._rule(name, [f"{quoted(choice)} {self._literal(named.end_text)}" for choice in choices])
            return
        first = next(iter(self._tokenizer.special_tokens.split(named.end_text, user_defined=False)))
        plain = first if isinstance(first, str) else ""
        each, least, most = self._characters(schema, named)
        if plain == named.end_text:
            self._rule(name, [f"/{each}{times(least, most)}{pattern_of(plain)}/"], "[lazy]")
            return
        # A special token ends the text, which may be empty and cannot spell what ends it.
        terminal, behind = f"T{name.upper()}", self._literal(named.end_text[len(plain) :])
        counted = times(least if plain else max(least, 1), most)
        without = f"~/(?s:.*){pattern_of(named.end_text)}(?s:.*)/"
        self._rules.append(f"{terminal}: /{each}{counted}{pattern_of(plain)}/ & {without}")
        self._rule(name, [f"{terminal} {behind}", *([behind] if not plain and not least else ())])

    def _characters(self, schema: Mapping[str, Any], named: NamedArguments) -> tuple[str, int, int | None]:
        """What a text consists of, and how many of them: line feeds around it and CDATA would not count."""
        least, most = schema.get("minLength"), schema.get("maxLength")
        if least is most is None:
            return "(?s:.)", 0, None
        framed = named.text.endswith("\n") and named.end_text.startswith("\n")
        return "[^<]" if framed else r"[^<\n]", int(least or 0), None if most is None else int(most)


def times(least: int, most: int | None) -> str:
    """How often something is repeated, for a regular expression."""
    return "*" if (least, most) == (0, None) else f"{{{least},{'' if most is None else most}}}"


def quoted(text: str) -> str:
    """A text as a string of Lark."""
    return json.dumps(text, ensure_ascii=False)


def pattern_of(text: str) -> str:
    """A regular expression of Lark that matches a text."""
    return "".join(char if char.isalnum() or char in " _" else f"\\x{{{ord(char):x}}}" for char in text)
