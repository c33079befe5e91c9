"""Elements: <function=f><parameter=k>v</parameter>, <invoke name="f">, or <function=f>{...}. Qwen3-Coder, MiniMax."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .call import DECODER, Call, Declared, Family, mapping, tagged_value

FAMILIES = (
    Family("<minimax:tool_call>", "<minimax:tool_call>", "</minimax:tool_call>"),
    Family("seed:tool_call", "<seed:tool_call>", "</seed:tool_call>"),
    Family("DSML", "<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>"),
    Family("DSML", "<｜DSML｜function_calls>", "</｜DSML｜function_calls>"),
    Family("<function=", "<function=", "</function>", keep=True, form="<function=NAME>ARGUMENTS</function>"),
    Family("<function name=", "<function name=", "</function>", keep=True),
    Family("function_calls>", "<atem:function_calls>", "</atem:function_calls>"),
)
# Quantifiers are possessive (*+) and spans of tags exclude "<": each pattern takes time linear in the text.
ELEMENT = re.compile(r"<[^\s<>]*?(?:function=|function name=|invoke name=)\"?+([\w.-]++)\"?+\s*+>")
VALUE_OPENS = re.compile(r"<[^\s<>]*?(?:parameter=|param(?:eter)?+ name=)\"?+([\w.-]++)\"?+(?:\s[^<>]*+)?+>")
VALUE_CLOSES = re.compile(r"</[^\s<>]*?param(?:eter)?+>")
BEGINS = re.compile(rf"\s*+{ELEMENT.pattern}")
HINT = re.compile("function=|function name=|invoke name=")
NEVER = re.compile(rf"{VALUE_CLOSES.pattern}|{ELEMENT.pattern}")  # what a value cannot contain


def parse(body: str, declared: Declared) -> list[Call]:
    """One element a call, each with elements for the arguments, or with JSON."""
    heads = list(ELEMENT.finditer(body))
    calls = []
    for found, end in zip(heads, [*(head.start() for head in heads[1:]), len(body)], strict=True):
        inside = body[found.end() : end]
        if inside.lstrip().startswith("{"):
            calls.append(Call(found[1], mapping(DECODER.raw_decode(inside.lstrip())[0])))
        else:
            pairs = {key: tagged_value(value, (found[1], key) in declared.texts) for key, value in _values(inside)}
            calls.append(Call(found[1], pairs))
    return calls


def _values(inside: str) -> Iterator[tuple[str, str]]:
    at = 0
    while (opens := VALUE_OPENS.search(inside, at)) and (closes := VALUE_CLOSES.search(inside, opens.end())):
        yield opens[1], inside[opens.end() : closes.start()]
        at = closes.end()
