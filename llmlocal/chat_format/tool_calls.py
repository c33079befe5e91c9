"""Parses tool calls: the tags of each family, and the notations of a call. Executes nothing.

The tags follow from text in the chat template, the notation from the call itself.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
DECODER = json.JSONDecoder()

MISTRAL = re.compile(r"\[TOOL_CALLS\]\s*([\w.-]+)\s*(?:\[CALL_ID\]([\w-]+))?\s*\[ARGS\]\s*(?=\{)")
HEADED = re.compile(
    r"(?:to=|begin[｜|]>|<\|tool_call:name\|>)\s*(?:functions?\.)?([\w.-]+?)(?::\d+)?\s*"
    r"(?:<\|channel\|>commentary)?\s*(?:(?:<\|constrain\|>)?\s*json)?\s*"
    r"(?:<\|message\|>|<\|tool_call_argument_begin\|>|<｜tool▁sep｜>|<\|tool_call:args\|>)\s*(?=\{)"
)
OLD_DEEPSEEK = re.compile(r"function<｜tool▁sep｜>([\w.-]+)\s*```json\s*(?=\{)")
PAIRS = re.compile(r"\s*([\w.-]+)\s*(?:<tool_sep[^>]*>)?\s*(?=<arg_key|$)")
PAIR = re.compile(r"<arg_key[^>]*>(.*?)</arg_key[^>]*>\s*<arg_value[^>]*>(.*?)</arg_value[^>]*>", re.DOTALL)
ELEMENT = re.compile(r"<(?:\S*?)(?:function=|function name=|invoke name=)\"?([\w.-]+)\"?\s*>")
VALUE = re.compile(
    r"<\S*?(?:parameter=|(?:parameter|param) name=)\"?([\w.-]+)\"?(?:\s[^>]*)?>(.*?)</\S*?param(?:eter)?>", re.DOTALL
)
PYTHON = re.compile(r"\s*\[?\s*[A-Za-z_][\w.]*\(")
GEMMA = re.compile(r"call:([\w.-]+)(?=\{)")


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
    for notation in (_mistral, _headed, _pairs, _elements, _gemma, _json, _python):
        try:
            calls = notation(body, Declared.of(tools))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if calls:
            return calls
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
    return [Call(found[1], _mapping(DECODER.raw_decode(body, found.end())[0])) for found in head.finditer(body)]


def _pairs(body: str, declared: Declared) -> list[Call]:
    """GLM: name, then <arg_key>k</arg_key><arg_value>v</arg_value>."""
    calls = []
    for part in re.split(r"<tool_call[^>]*>", body):
        found = PAIRS.match(part)
        if found and (PAIR.search(part) or found[1] in declared.names):
            pairs = {k.strip(): _value(v, (found[1], k.strip()) in declared.texts) for k, v in PAIR.findall(part)}
            calls.append(Call(found[1], pairs))
    return calls


def _elements(body: str, declared: Declared) -> list[Call]:
    """Elements: <function=f><parameter=k>v</parameter>, <invoke name="f">, or <function=f>{...}."""
    heads = list(ELEMENT.finditer(body))
    calls = []
    for found, end in zip(heads, [*(head.start() for head in heads[1:]), len(body)], strict=True):
        inside = body[found.end() : end]
        if inside.lstrip().startswith("{"):
            calls.append(Call(found[1], _mapping(DECODER.raw_decode(inside.lstrip())[0])))
        else:
            pairs = {key: _value(value, (found[1], key) in declared.texts) for key, value in VALUE.findall(inside)}
            calls.append(Call(found[1], pairs))
    return calls


def _gemma(body: str, _: object) -> list[Call]:
    """call:name{key:<|"|>text<|"|>,other:3}: JSON with unquoted keys and <|"|> as quote."""
    calls = []
    for found in GEMMA.finditer(body):
        texts = body[found.end() :].split('<|"|>')
        bare = [re.sub(r"([{,]\s*)([A-Za-z_][\w-]*)\s*:", r'\1"\2":', text) for text in texts[::2]]
        bare = [re.sub(r"\bNone\b", "null", text) for text in bare]
        strings = [json.dumps(text) for text in texts[1::2]]
        joined = "".join(part for pair in zip(bare, [*strings, ""], strict=False) for part in pair)
        calls.append(Call(found[1], _mapping(DECODER.raw_decode(joined)[0])))
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
        rest = body[end:]
        follows = re.match(r"[\s;,]*(?=\{)", rest)
        at = end + follows.end() if follows else -1
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
    tree = ast.parse(body.strip(), mode="eval").body
    nodes = tree.elts if isinstance(tree, ast.List | ast.Tuple) else [tree]
    calls = []
    for node in nodes:
        if not isinstance(node, ast.Call) or node.args:
            return []
        text = ast.unparse(node.func)
        calls.append(Call(text, {key.arg: _constant(key.value) for key in node.keywords if key.arg}))
    return calls


class _JsonNames(ast.NodeTransformer):
    """Accepts JSON's true, false and null in Python syntax."""

    NAMES: Mapping[str, Any] = {"true": True, "false": False, "null": None}

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(self.NAMES[node.id]) if node.id in self.NAMES else node


def _constant(node: ast.expr) -> Any:
    return ast.literal_eval(_JsonNames().visit(node))


def _mapping(value: Any) -> dict[str, Any]:
    """The arguments as a dict, parsed where they are JSON in a string. Raises ValueError for other values."""
    if isinstance(value, str):
        value = json.loads(value)
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
    readers: tuple[Callable[[str], Any], ...] = (json.loads, lambda text: _constant(ast.parse(text, mode="eval").body))
    for read in readers:
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text
