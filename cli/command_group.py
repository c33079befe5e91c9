"""Commands of several words: what they all have in common."""

from __future__ import annotations

import typer


def group(help: str, example: str) -> typer.Typer:
    """A command whose first argument is another command. No markup: it would load a library that draws."""
    text = f"{help}\n\n\b\nExample: {example}\n"
    return typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help=text)
