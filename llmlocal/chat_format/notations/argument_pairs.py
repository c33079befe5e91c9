"""A name, then pairs of tags: <arg_key>k</arg_key><arg_value>v</arg_value>. GLM, Hunyuan and others."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .call import Call, Declared, Family, tagged_value

# Calls of GLM stand in <tool_call>, as those of JSON do.
FAMILIES = (Family("reasoning_mode", "<tool_calls:opensource>", "</tool_calls:opensource>"),)
# Quantifiers are possessive (*+) and spans of tags exclude "<": each pattern takes time linear in the text.
PART = re.compile(r"<tool_call[^<>]*+>")
PAIRS = re.compile(r"\s*+([\w.-]++)\s*+(?:<tool_sep[^<>]*+>)?+\s*+(?=<arg_key|</tool_call|$)")
KEY_OPENS, KEY_CLOSES = re.compile(r"<arg_key[^<>]*+>"), re.compile(r"</arg_key[^<>]*+>\s*+(<arg_value[^<>]*+>)?+")
VALUE_CLOSES = re.compile(r"</arg_value[^<>]*+>")
BEGINS = re.compile(rf"\s*+(?:{PART.pattern})?+\s*+[\w.-]++\s*+(?:<tool_sep[^<>]*+>)?+\s*+<arg_key")
HINT = re.compile("<arg_key")
NEVER = re.compile(rf"{VALUE_CLOSES.pattern}|{PART.pattern}")  # what a value cannot contain


def parse(body: str, declared: Declared) -> list[Call]:
    """One or several, each after a tag; a name alone is a call where such a function is declared."""
    calls = []
    for part in PART.split(body):
        found = PAIRS.match(part)
        if found and ((pairs := list(_arguments(part))) or found[1] in declared.names):
            calls.append(Call(found[1], {k: tagged_value(v, (found[1], k) in declared.texts) for k, v in pairs}))
    return calls


def _arguments(part: str) -> Iterator[tuple[str, str]]:
    """Each key with its value; a key without one is passed over."""
    at = 0
    while (opens := KEY_OPENS.search(part, at)) and (closes := KEY_CLOSES.search(part, opens.end())):
        at = closes.end()
        if closes[1] is not None:
            if (end := VALUE_CLOSES.search(part, at)) is None:
                return
            yield part[opens.end() : closes.start()].strip(), part[at : end.start()]
            at = end.end()
