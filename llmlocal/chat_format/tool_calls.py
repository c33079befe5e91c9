"""Parses tool calls: the tags of each family, and the notations of a call. Executes nothing.

The tags follow from text in the chat template, the notation from the call itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..text import encodable
from .notations import argument_pairs, elements, gemma, headed, json_objects, python_calls
from .notations.call import Call, Declared, Family
from .tag_splitter import Span

__all__ = ["BARE", "FAMILIES", "MAX_BODY", "Call", "families", "parse", "spans"]

NOTATIONS = (headed, argument_pairs, elements, gemma, json_objects, python_calls)
FAMILIES: tuple[Family, ...] = tuple(family for notation in NOTATIONS for family in notation.FAMILIES)
BARE = tuple(Span("call", opens, first=True, keep=True) for opens in json_objects.BARE)
MAX_BODY = 256 << 10  # characters of a call; anything longer is not read as one


def families(template: str) -> list[Family]:
    """The families that a chat template may belong to."""
    return [family for family in FAMILIES if family.hint in template]


def spans(template: str) -> list[Span]:
    """The spans of tool calls in answers, for a chat template."""
    found = [family.span for family in families(template)]
    if not found or "<|python_tag|>" in template:
        found += BARE
    return found


def parse(body: str, tools: Sequence[Mapping[str, Any]] = ()) -> list[Call]:
    """The calls in a part of an answer, empty where it has none. `tools` declare which arguments are strings.

    A text that begins as one notation does is read in that one first: its arguments may look like another.
    """
    if len(body) > MAX_BODY:
        return []
    declared = Declared.of(tools)
    for notation in sorted(NOTATIONS, key=lambda notation: notation.BEGINS.match(body) is None):
        try:
            calls = notation.parse(body, declared)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if calls:
            return [Call(encodable(call.name), encodable(dict(call.arguments))) for call in calls]
    return []
