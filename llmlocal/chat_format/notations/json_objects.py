"""Calls as JSON objects that name a function: Qwen, Hermes, Llama 3, Mistral, Granite, Phi-4, Command R and others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .call import DECODER, Call, Family, mapping

OBJECT = '{"name": "NAME", "arguments": ARGUMENTS}'
ACTION = '[\n    {"tool_call_id": "0", "tool_name": "NAME", "parameters": ARGUMENTS}\n]'
FAMILIES = (
    Family("<tool_call>", "<tool_call>", "</tool_call>", form=f"<tool_call>\n{OBJECT}\n</tool_call>"),
    Family("<tool_calls>", "<tool_calls>", "</tool_calls>", form=f"<tool_calls>\n{OBJECT}\n</tool_calls>"),
    Family("<TOOLCALL>", "<TOOLCALL>", "</TOOLCALL>", form=f"<TOOLCALL>[{OBJECT}]</TOOLCALL>"),
    Family("[TOOL_CALLS]", "[TOOL_CALLS]", keep=True, form=f"[TOOL_CALLS][{OBJECT}]"),
    Family("<|tool_call|>", "<|tool_call|>", form=f"<|tool_call|>[{OBJECT}]"),
    Family("<|/tool|>", "<|tool_call|>", "<|/tool_call|>", form=f"<|tool_call|>[{OBJECT}]<|/tool_call|>"),
    Family("<|START_ACTION|>", "<|START_ACTION|>", "<|END_ACTION|>", form=f"<|START_ACTION|>{ACTION}<|END_ACTION|>"),
    Family(
        "<|tools_prefix|>",
        "<|tools_prefix|>",
        "<|tools_suffix|>",
        form='<|tools_prefix|>[{"NAME": ARGUMENTS}]<|tools_suffix|>',
    ),
    Family("<|function_call|>", "<|function_call|>", form=f"<|function_call|>{OBJECT}"),
    Family("message_sep", "function call<|role_sep|>\n", "<|message_sep|>"),
    Family("functools", "functools[", keep=True, form=f"functools[{OBJECT}]"),
    Family("<|python_tag|>", "<|python_tag|>", form='<|python_tag|>{"name": "NAME", "parameters": ARGUMENTS}'),
)
BARE = ('{"name":', '{"type": "function"', '{"function":')  # calls without tags
BEGINS = re.compile(r"\s*+(?:\[TOOL_CALLS\]|functools)?+\s*+(?:\[\s*+)?+\{")
FOLLOWS = re.compile(r"[\s;,]*+(?=\{)")


def parse(body: str, _: object) -> list[Call]:
    """One, several in a row, or a list of them."""
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
        yield Call(name, mapping({} if given is None else given))
    elif len(item) == 1:
        ((name, given),) = item.items()
        if isinstance(given, Mapping):
            yield Call(name, mapping(given))
