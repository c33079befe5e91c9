"""Parses tool calls: the tags of each family, and the notations of a call. Executes nothing.

The tags follow from text in the chat template, the notation from the call itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ..text import encodable
from .literals import calls as python_calls
from .literals import constant, mapping_at
from .tag_splitter import Span

# Text that only templates of a family contain, the tags of its calls ("": to the end of the answer), and whether the
# opening tag is part of the call.
# fmt: off
TAGS: tuple[tuple[str, str, str, bool], ...] = (
    ("<tool_call>", "<tool_call>", "</tool_call>", False),
    ("<tool_calls>", "<tool_calls>", "</tool_calls>", False),
    ("<TOOLCALL>", "<TOOLCALL>", "</TOOLCALL>", False),
    ("[TOOL_CALLS]", "[TOOL_CALLS]", "", True),
    ("<|tool_call|>", "<|tool_call|>", "<|/tool_call|>", False),
    ("<|START_ACTION|>", "<|START_ACTION|>", "<|END_ACTION|>", False),
    ("<|tool_calls_section_begin|>", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", False),
    ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", False),
    ("<|tool_call_start|>", "<|tool_call_start|>", "<|tool_call_end|>", False),
    ("<|tool_call>", "<|tool_call>", "<tool_call|>", False),
    ("<minimax:tool_call>", "<minimax:tool_call>", "</minimax:tool_call>", False),
    ("seed:tool_call", "<seed:tool_call>", "</seed:tool_call>", False),
    ("reasoning_mode", "<tool_calls:opensource>", "</tool_calls:opensource>", False),
    ("DSML", "<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>", False),
    ("DSML", "<｜DSML｜function_calls>", "</｜DSML｜function_calls>", False),
    ("<|tools_prefix|>", "<|tools_prefix|>", "<|tools_suffix|>", False),
    ("<|function_call|>", "<|function_call|>", "", False),
    ("message_sep", "function call<|role_sep|>\n", "<|message_sep|>", False),
    ("<|tool_calls|>", "<|tool_calls|>", "<|calls|>", False),
    ("functools", "functools[", "", True),
    ("<|python_tag|>", "<|python_tag|>", "", False),
    ("<function=", "<function=", "</function>", True),
    ("<function name=", "<function name=", "</function>", True),
    ("<|channel|>", "<|channel|>commentary to=", "<|call|>", False),
    ("<|channel|>", " to=functions.", "<|call|>", True),
    ("function_calls>", "<atem:function_calls>", "</atem:function_calls>", False),
)
# fmt: on
BARE = ('{"name":', '{"type": "function"', '{"function":')  # untagged calls, for templates without tags
MAX_BODY = 256 << 10  # characters of a call; what is longer is no call


def _finite(text: str) -> float:
    """A number of JSON. Raises ValueError for one that JSON could not write again."""
    value = float(text)
    if not isfinite(value):
        raise ValueError("a number is not finite")
    return value


DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)

# Quantifiers are possessive (*+) and spans of tags exclude "<": each pattern takes time linear in the text.
MISTRAL = re.compile(r"\[TOOL_CALLS\]\s*+([\w.-]++)\s*+(?:\[CALL_ID\]([\w-]++))?+\s*+\[ARGS\]\s*+(?=\{)")
HEADED = re.compile(
    r"(?:to=|begin[｜|]>|<\|tool_call:name\|>)\s*+(?:functions?+\.)?+([\w.-]++)(?::\d++)?+\s*+"
    r"(?:<\|channel\|>commentary)?+\s*+(?:(?:<\|constrain\|>)?+\s*+json)?+\s*+"
    r"(?:<\|message\|>|<\|tool_call_argument_begin\|>|<｜tool▁sep｜>|<\|tool_call:args\|>)\s*+(?=\{)"
)
OLD_DEEPSEEK = re.compile(r"function<｜tool▁sep｜>([\w.-]++)\s*+```json\s*+(?=\{)")
PART = re.compile(r"<tool_call[^<>]*+>")
PAIRS = re.compile(r"\s*+([\w.-]++)\s*+(?:<tool_sep[^<>]*+>)?+\s*+(?=<arg_key|$)")
KEY_OPENS, KEY_CLOSES = re.compile(r"<arg_key[^<>]*+>"), re.compile(r"</arg_key[^<>]*+>\s*+(<arg_value[^<>]*+>)?+")
ARG_CLOSES = re.compile(r"</arg_value[^<>]*+>")
ELEMENT = re.compile(r"<[^\s<>]*?(?:function=|function name=|invoke name=)\"?+([\w.-]++)\"?+\s*+>")
VALUE_OPENS = re.compile(r"<[^\s<>]*?(?:parameter=|param(?:eter)?+ name=)\"?+([\w.-]++)\"?+(?:\s[^<>]*+)?+>")
VALUE_CLOSES = re.compile(r"</[^\s<>]*?param(?:eter)?+>")
PYTHON = re.compile(r"\s*+\[?+\s*+[A-Za-z_][\w.]*+\(")
GEMMA = re.compile(r"call:([\w.-]++)(?=\{)")
FOLLOWS = re.compile(r"[\s;,]*+(?=\{)")


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


def spans(template: str) -> list[Span]:
    """The spans of tool calls in answers, for a chat template."""
    found = [Span("call", opens, closes, keep=keep) for hint, opens, closes, keep in TAGS if hint in template]
    if not found or "<|python_tag|>" in template:
        found += [Span("call", bare, first=True, keep=True) for bare in BARE]
    return found


def parse(body: str, tools: Sequence[Mapping[str, Any]] = ()) -> list[Call]:
    """The calls in a part of an answer, empty where it has none. `tools` declare which arguments are strings."""
    if len(body) > MAX_BODY:
        return []
    declared = Declared.of(tools)
    for notation in (_mistral, _headed, _pairs, _elements, _gemma, _json, _python):
        try:
            calls = notation(body, declared)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if calls:
            return [Call(encodable(call.name), encodable(dict(call.arguments))) for call in calls]
    return []


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
            for name, kind in (function.get("parameters", {}).get("properties") or {}).items():
                if isinstance(kind, Mapping) and kind.get("type") == "string":
                    texts.add((str(function.get("name")), name))
        return cls(frozenset(names), frozenset(texts))


def _mistral(body: str, _: object) -> list[Call]:
    """[TOOL_CALLS]name[ARGS]{...}, repeated."""
    return _before_json(MISTRAL, body)


def _headed(body: str, _: object) -> list[Call]:
    """A header with the name, then JSON: gpt-oss, Kimi, DeepSeek, Solar."""
    head = body if "to=" in body or "begin" in body or "<|tool_call:name|>" in body else f"to={body}"
    return _before_json(HEADED, head) or _before_json(OLD_DEEPSEEK, head)


def _before_json(head: re.Pattern[str], body: str) -> list[Call]:
    calls, at = [], 0
    while found := head.search(body, at):  # after its arguments: what stands within them is no call
        arguments, at = DECODER.raw_decode(body, found.end())
        calls.append(Call(found[1], _mapping(arguments)))
    return calls


def _pairs(body: str, declared: Declared) -> list[Call]:
    """GLM: name, then <arg_key>k</arg_key><arg_value>v</arg_value>."""
    calls = []
    for part in PART.split(body):
        found = PAIRS.match(part)
        if found and ((pairs := list(_arguments(part))) or found[1] in declared.names):
            calls.append(Call(found[1], {k: _value(v, (found[1], k) in declared.texts) for k, v in pairs}))
    return calls


def _arguments(part: str) -> Iterator[tuple[str, str]]:
    """Each key with its value; a key without one is passed over."""
    at = 0
    while (opens := KEY_OPENS.search(part, at)) and (closes := KEY_CLOSES.search(part, opens.end())):
        at = closes.end()
        if closes[1] is not None:
            if (end := ARG_CLOSES.search(part, at)) is None:
                return
            yield part[opens.end() : closes.start()].strip(), part[at : end.start()]
            at = end.end()


def _elements(body: str, declared: Declared) -> list[Call]:
    """Elements: <function=f><parameter=k>v</parameter>, <invoke name="f">, or <function=f>{...}."""
    heads = list(ELEMENT.finditer(body))
    calls = []
    for found, end in zip(heads, [*(head.start() for head in heads[1:]), len(body)], strict=True):
        inside = body[found.end() : end]
        if inside.lstrip().startswith("{"):
            calls.append(Call(found[1], _mapping(DECODER.raw_decode(inside.lstrip())[0])))
        else:
            pairs = {key: _value(value, (found[1], key) in declared.texts) for key, value in _values(inside)}
            calls.append(Call(found[1], pairs))
    return calls


def _values(inside: str) -> Iterator[tuple[str, str]]:
    at = 0
    while (opens := VALUE_OPENS.search(inside, at)) and (closes := VALUE_CLOSES.search(inside, opens.end())):
        yield opens[1], inside[opens.end() : closes.start()]
        at = closes.end()


def _gemma(body: str, _: object) -> list[Call]:
    """call:name{key:<|"|>text<|"|>,other:3}: JSON with unquoted keys and <|"|> as quote."""
    calls, at = [], 0
    while found := GEMMA.search(body, at):
        arguments, at = mapping_at(body, found.end(), '<|"|>')
        calls.append(Call(found[1], arguments))
    return calls


def _json(body: str, _: object) -> list[Call]:
    """JSON objects that name a function: one, several in a row, or a list."""
    calls: list[Call] = []
    at = min((i for i in map(body.find, "{[") if i >= 0), default=-1)
    while at >= 0:
        if body.startswith("[TOOL_CALLS]", at):
            at += len("[TOOL_CALLS]")
        try:
            value, end = DECODER.raw_decode(body, at)
        except ValueError:
            if calls:
                break  # the text after the calls is ignored
            raise
        calls += [call for item in (value if isinstance(value, list) else [value]) for call in _called(item)]
        follows = FOLLOWS.match(body, end)
        at = follows.end() if follows else -1
    return calls


def _called(item: Any) -> Iterable[Call]:
    """The call in a JSON object: {"name": f, "arguments": {...}} or a variant, or {f: {...}}."""
    if not isinstance(item, Mapping):
        return
    inner = item.get("function")
    if isinstance(inner, Mapping):
        item = inner
    name = next((item[key] for key in ("name", "tool_name", "function") if isinstance(item.get(key), str)), None)
    given = next((item[key] for key in ("arguments", "parameters", "args") if key in item), None)
    if name is not None:
        yield Call(name, _mapping({} if given is None else given))
    elif len(item) == 1:
        ((name, given),) = item.items()
        if isinstance(given, Mapping):
            yield Call(name, _mapping(given))


def _python(body: str, _: object) -> list[Call]:
    """[f(a=1, b='x')]: Python syntax with constant values."""
    if not PYTHON.match(body):
        return []
    return [Call(name, arguments) for name, arguments in python_calls(body)]


def _mapping(value: Any) -> dict[str, Any]:
    """The arguments as a dict, parsed where they are JSON in a string. Raises ValueError for other values."""
    if isinstance(value, str):
        value = DECODER.decode(value)
    if not isinstance(value, Mapping):
        raise ValueError("arguments are not an object")
    return dict(value)


def _value(text: str, is_text: bool) -> Any:
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
