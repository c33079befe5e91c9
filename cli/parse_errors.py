"""What the parser refuses, in the words of our own messages, with the next step."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from ..errors import UsageError
from ..text import escaped

_VALUES = (  # the parser's words about values, and ours
    (r"(?P<value>.+) is not a valid int(?: range)?\.", r" is \g<value>: must be a whole number"),
    (r"(?P<value>.+) is not a valid float(?: range)?\.", r" is \g<value>: must be a number"),
    (r"(?P<value>.+) is not in the range (\S+)<=x<=(\S+)\.", r" is \g<value>: must be between \3 and \4"),
    (r"(?P<value>.+) is not in the range x>=(\S+)\.", r" is \g<value>: must be \3 or more"),
)
MODEL_OPTIONS, MODEL_FIRST = ("-m", "--model"), "the model is the first argument: llmlocal run MODEL PROMPT"
# Commands and options of other programs for models, and what is typed here.
_ELSEWHERE = {
    "aliases": "llmlocal alias ls",
    "cp": "another name for a model: llmlocal alias set NAME MODEL",
    "create": "a name for a system prompt and options: llmlocal config set presets.NAME.system TEXT",
    "download": "llmlocal pull MODEL",
    "info": "llmlocal show MODEL",
    "install": "llmlocal pull MODEL",
    "logs": "llmlocal sessions ls",
    "models": "llmlocal list",
    "ps": "nothing runs in the background; the models on this machine: llmlocal list",
    "remove": "llmlocal rm MODEL",
    "search": "llmlocal list --available",
    "start": "llmlocal serve MODEL",
    "stop": "nothing runs in the background; Ctrl-C ends a server",
    "templates": "a name for a system prompt and options: llmlocal config set presets.NAME.system TEXT",
    "version": "llmlocal --version",
    "-v": "llmlocal --version",
    "-V": "llmlocal --version",
}


def usage_error(error: Exception, arguments: Sequence[str]) -> UsageError:
    """The error of the parser as one of ours."""
    where = getattr(getattr(error, "ctx", None), "command_path", "llmlocal")
    said: Any = getattr(error, "format_message", error.__str__)()
    return UsageError(_in_our_words(said), _hint(said, where, arguments))


def _in_our_words(said: str) -> str:
    for theirs, ours in _VALUES:
        if found := re.fullmatch(rf"Invalid value for (?P<name>.+?): {theirs}", said, re.DOTALL):
            return found["name"].replace("'", "") + found.expand(ours)
    return said


def _hint(said: str, where: str, arguments: Sequence[str]) -> str:
    if file := next((word for word in arguments if word.startswith("-") and os.path.isfile(word)), None):
        return f"for the file of this name: ./{escaped(file)}"
    if said.startswith("Got unexpected extra argument") and where.endswith((" run", " chat")):
        return f'a text of several words is one argument in quotes: {where} "what can you do?"'
    unknown = re.match(r"No such (?:command '(.*)'|option: (\S+))", said, re.DOTALL)
    name = unknown and (unknown[1] or unknown[2])
    if not name or (where != "llmlocal" and name not in MODEL_OPTIONS):
        return f"{where} --help"
    if " " in name:
        return 'a question is asked by llmlocal run "what can you do?"'
    return MODEL_FIRST if name in MODEL_OPTIONS else _ELSEWHERE.get(name, f"{where} --help")
