"""Arguments in help texts by the names that we give them, without the types that the parser adds."""

from __future__ import annotations

from typing import Any


def plain_names(command: Any) -> Any:
    """`command` (a parsed one, or a group), whose help shows `MODEL [PROMPT]` and not `{MODEL} <Path> ...`."""
    for other in getattr(command, "commands", {}).values():
        plain_names(other)
    for parameter in command.params:
        if parameter.param_type_name == "argument" and parameter.metavar:
            usage = parameter.metavar if parameter.required else f"[{parameter.metavar}]"
            parameter.display_type_rich = lambda ctx: None
            parameter.get_usage_pieces = lambda ctx, usage=usage: [usage]
    return command
