"""[f(a=1, b='x')]: Python syntax with constant values. LFM2."""

from __future__ import annotations

import re

from .call import Call, Family
from .literals import calls as python_calls

TAGS = ("<|tool_call_start|>", "<|tool_call_end|>")
HINTS = ("<|tool_call_start|>", "<|tool_list_start|>", '"List of tools: ["')
FAMILIES = tuple(Family(hint, *TAGS, form=f"{TAGS[0]}[NAME(PAIRS)]{TAGS[1]}") for hint in HINTS)
BEGINS = re.compile(r"\s*+\[?+\s*+[A-Za-z_][\w.]*+\(")


def parse(body: str, _: object) -> list[Call]:
    """One, several with commas between them, or a list."""
    return [Call(name, arguments) for name, arguments in python_calls(body)] if BEGINS.match(body) else []
