"""Help texts as we want them: arguments by the names that we give them, summaries in one whole sentence."""

from __future__ import annotations

from typing import Any


def summary(text: str) -> str:
    """The first sentence of a help text."""
    return text.strip().partition("\n")[0].partition(". ")[0].rstrip(".") + "."


def format_help(command: Any) -> Any:
    """`command` (a parsed one, or a group), whose help shows `MODEL [PROMPT]` and not `{MODEL} <Path> ...`."""
    for other in getattr(command, "commands", {}).values():
        format_help(other)
    command.short_help = summary(command.help or "")
    for parameter in command.params:
        if parameter.param_type_name == "argument" and parameter.metavar:
            usage = parameter.metavar if parameter.required else f"[{parameter.metavar}]"
            parameter.display_type_rich = lambda ctx: None
            parameter.get_usage_pieces = lambda ctx, usage=usage: [usage]
    return command
