"""`llmlocal help`: the help of a command, also as --help prints it."""

from __future__ import annotations

from typing import Any

import typer

from ..options.shell import HelpWords
from ..ui import terminal


def help(ctx: typer.Context, command: HelpWords = None) -> None:
    """Print the help of a command, or list all commands.

    \b
    Examples: llmlocal help
              llmlocal help run
              llmlocal help gguf set
    """
    from ...errors import UsageError

    context: Any = ctx.find_root()
    for name in command or ():
        parent: Any = context.command
        found = parent.get_command(context, name) if name in getattr(parent, "commands", ()) else None
        if found is None:
            raise UsageError(f"no command {name!r} in {context.command_path}", f"{context.command_path} --help")
        context = found.make_context(name, [], parent=context, resilient_parsing=True)
    terminal.say(context.get_help())
