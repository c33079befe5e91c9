"""Functions that a model may call: the file that declares them and the programs that run them."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..chat_format.tool_calls import Call
from ..errors import BadFileError
from ..files.small_file import read_small
from ..text import escaped
from .called_program import output_of

MAX_FILE = 1 << 20
MAX_RESULT = 64 << 10  # characters of a result that the model gets to read
PATIENCE = 120.0  # seconds that a function may take


@dataclass(frozen=True, slots=True)
class Tool:
    """A function as chat templates take it, and what runs it, if anything does: a program, or an MCP server.

    `remote` returns the result of a call by the MCP server named `server`.
    """

    declared: Mapping[str, Any]
    command: tuple[str, ...] = ()
    server: str = ""
    remote: Callable[[Call], str] | None = None

    @property
    def name(self) -> str:
        return str(self.declared["function"]["name"])


def load(path: Path) -> list[Tool]:
    """The functions in a JSON file: a list in OpenAI's notation, each with a "command" if a program runs it.

    Raises NotFoundError, BadFileError.
    """
    where = escaped(str(path))
    data = read_small(path, MAX_FILE)
    try:
        found = json.loads(data)
        tools = [_tool(item) for item in (found if isinstance(found, list) else [found])]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        hint = 'a list of {"name": ..., "description": ..., "parameters": {JSON schema}, "command": [program, ...]}'
        raise BadFileError(f"{where}: not a list of functions: {escaped(str(error))}", hint) from None
    return tools


def run(command: Sequence[str], call: Call, *, whole: bool = False) -> str:
    """Run a program for a call. Returns its output; where it fails, an error message for the model to read.

    The program gets the arguments as JSON input, with `whole` also the name. It is started without a shell.
    """
    given: Any = {"name": call.name, "arguments": dict(call.arguments)} if whole else dict(call.arguments)
    try:
        code, out, err = output_of(command, json.dumps(given).encode(), PATIENCE)
    except subprocess.TimeoutExpired:
        return f"error: {command[0]} took longer than {PATIENCE:.0f} seconds"
    except (OSError, ValueError) as error:
        return f"error: {command[0]} cannot be started: {getattr(error, 'strerror', None) or error}"
    text = out.decode("utf-8", "replace")
    if code:
        text = f"error: exit code {code}\n{text}{err.decode('utf-8', 'replace')}"
    return text.strip()[:MAX_RESULT]


def _tool(item: Any) -> Tool:
    function = item.get("function", item)
    declared = {key: value for key, value in function.items() if key != "command"}
    if not isinstance(declared.get("name"), str) or not isinstance(declared.get("parameters", {}), dict):
        raise ValueError("a function needs a name (text) and parameters (an object)")
    declared = {"description": "", "parameters": {"type": "object", "properties": {}}, **declared}
    command = item.get("command", function.get("command", ()))
    words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
    return Tool({"type": "function", "function": declared}, tuple(words))
