"""Functions that a client declares, and the calls that a model makes of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from ..chat_format.tool_calls import Call
from .http.errors import refused
from .http.fields import Fields

MOST_FUNCTIONS = 128
NAME_LENGTH = 128
Declared = dict[str, Any]  # in OpenAI's notation


def declared(function: Fields, schema: str = "parameters") -> Declared:
    """A function with a name, a description and the schema of its arguments. Raises ApiError."""
    strict = function.flag("strict")
    name = function.required_text("name")
    if not 0 < len(name) <= NAME_LENGTH:
        raise refused(function.place("name"), f"must have 1 to {NAME_LENGTH} characters")
    about = function.text("description") or ""
    parameters = function.mapping(schema) or {"type": "object", "properties": {}}
    properties = parameters.get("properties")
    if properties is not None and not isinstance(properties, dict):
        raise refused(f"{function.place(schema)}.properties", "must be an object")
    function.done()
    described = {"name": name, "description": about, "parameters": parameters}
    return {"type": "function", "function": described, "strict": strict}


def arguments(text: str, where: str) -> dict[str, Any]:
    """The arguments of an earlier call, which come as JSON in a string. Raises ApiError."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise refused(where, "must be a JSON object in a string")
    return value


@dataclass(frozen=True, slots=True)
class Delta:
    """What a token adds to an answer: text of one kind, or a whole call."""

    kind: Literal["content", "reasoning", "call"]
    text: str = ""
    call: Call | None = None
    id: str = ""

    @property
    def arguments(self) -> str:
        """The arguments of a call as JSON."""
        return json.dumps(dict(self.call.arguments) if self.call else {}, ensure_ascii=False)
