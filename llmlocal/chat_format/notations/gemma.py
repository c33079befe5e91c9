"""call:name{key:<|"|>text<|"|>,other:3}: JSON with unquoted keys and <|"|> as quote. Gemma 4."""

from __future__ import annotations

import re

from .call import Call, Family
from .literals import mapping_at

FAMILIES = (Family("<|tool_call>", "<|tool_call>", "<tool_call|>"),)
QUOTE = '<|"|>'
GEMMA = re.compile(r"call:([\w.-]++)(?=\{)")
BEGINS = re.compile(rf"\s*+{GEMMA.pattern}")


def parse(body: str, _: object) -> list[Call]:
    """One or several in a row."""
    calls, at = [], 0
    while found := GEMMA.search(body, at):
        arguments, at = mapping_at(body, found.end(), QUOTE)
        calls.append(Call(found[1], arguments))
    return calls
