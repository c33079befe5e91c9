"""What all commands with subcommands have in common."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from .ui import terminal


class Subcommands(TyperGroup):
    """Subcommands by name; `list` is `ls`, too."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, "ls" if cmd_name == "list" and "ls" in self.commands else cmd_name)


def group(help: str, example: str) -> typer.Typer:
    """A command whose first argument is another command; without one it prints its help. No markup: it loads rich."""
    text = f"{help}\n\n\b\nExample: {example}\n"
    app = typer.Typer(
        cls=Subcommands, add_completion=False, rich_markup_mode=None, invoke_without_command=True, help=text
    )

    @app.callback()
    def print_help(ctx: typer.Context) -> None:
        if ctx.invoked_subcommand is None:
            terminal.say(ctx.get_help())

    return app
