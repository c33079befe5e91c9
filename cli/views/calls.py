"""Function calls as lines: each name and value escaped and on one line, so that a model cannot draw a line of its own.

What a model writes in a call stands right above the question whether to run it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ...text import escaped

if TYPE_CHECKING:
    from ...chat.tools import Tool
    from ...chat_format.tool_calls import Call

MAX_VALUE = 200  # characters that are shown of a value or a result
MAX_NAME = 64
MAX_ARGUMENTS = 32  # that are shown


class Functions(NamedTuple):
    """Functions, how calls run ("ask", "never" or a program), and which call is forced."""

    tools: tuple[Tool, ...] = ()
    how: tuple[str, ...] | str = "ask"
    choice: str = "auto"


def call_lines(name: str, arguments: Mapping[str, Any], columns: int) -> Iterator[str]:
    """`call: f(a=1)`, or each argument on lines of its own where that does not fit into `columns`."""
    function = _name(name)
    values = [(_name(key), cut(repr(value))) for key, value in arguments.items()]
    short = f"call: {function}({', '.join(f'{key}={value}' for key, value in values)})"
    if len(short) < columns and short.isascii() and len(values) <= MAX_ARGUMENTS:
        yield short
        return
    yield f"call: {function}"
    for key, value in values[:MAX_ARGUMENTS]:
        text = f"{key} = {value}"
        width = max(8, columns - 7) // (1 if text.isascii() else 2)  # a character may take two columns
        for at in range(0, len(text), width):  # folded here, so that no part of it begins a line of the terminal
            yield f"{' ' * (6 if at else 4)}{text[at : at + width]}"
    if len(values) > MAX_ARGUMENTS:
        yield f"    … and {len(values) - MAX_ARGUMENTS} more arguments"


def call_fields(call: Call) -> dict[str, Any]:
    """A call in JSON."""
    return {"name": call.name, "arguments": dict(call.arguments)}


def cut(text: str, limit: int = MAX_VALUE) -> str:
    """`text` escaped, on one line; what is longer than `limit` is cut, with its length."""
    more = f"… ({len(text)} characters)" if len(text) > limit else ""
    return escaped(text[:limit]) + more


def _name(name: str) -> str:
    """A name as it is, in quotes where it could be taken for something else."""
    plain = name.isascii() and name.replace(".", "_").replace("-", "_").isidentifier()
    return cut(name if plain else repr(name), MAX_NAME)
