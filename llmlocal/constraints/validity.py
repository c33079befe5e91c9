"""What is wrong with a grammar, in a line."""

from __future__ import annotations

import re
from functools import partial

from ..text import escaped
from .deep_stack import on_deep_stack

PLACE = re.compile(r"(?:at )?(\d+)\((\d+)\): ")
SOURCE = re.compile(r"\s*\d+ \| ")  # a line of the grammar, which is shown again below its error
MOST = 300  # characters


def problem(compiled: str) -> str:
    """What llguidance finds wrong with a grammar, on one line; empty where it can be used."""
    from llguidance import LLMatcher  # here, as every start of run would wait for it

    wrong, said = on_deep_stack(partial(LLMatcher.validate_grammar_with_warnings, compiled))
    return told(said[0]) if wrong else ""


def told(message: str) -> str:
    """A message of llguidance on one line, without the excerpts that belong to it."""
    lines = [line.strip() for line in message.splitlines() if not SOURCE.match(line)]
    place = PLACE.match(message)
    where = f"line {place[1]}, column {place[2]}: " if place else ""
    if "regex parse error:" in message:
        reason = next((line for line in lines if line.startswith("error: ")), "error: ")
        return escaped(f"{where}invalid regular expression: {reason.removeprefix('error: ')}")
    return escaped(PLACE.sub(where, " ".join(line for line in lines if set(line) - {"^"})))[:MOST]
