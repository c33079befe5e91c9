"""Help texts as we want them: arguments by the names that we give them, summaries in one whole sentence."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable
from typing import Any

import typer

NARROW = 60  # columns; with fewer, what is said of an option stands below it
AS_IT_IS = "\b\n"  # what a paragraph starts with whose lines stay
NO_BREAK = "\xa0"
Formatter: Any = typer.Context.formatter_class


class HelpFormatter(Formatter):  # type: ignore[misc]
    """Help for a terminal of any width, broken between words: the parser's own has 50 columns at least, and breaks
    names of options after their hyphens.
    """

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.width: int = max(min(self.width, shutil.get_terminal_size().columns - 2), 20)

    def write_text(self, text: str) -> None:
        """Write paragraphs, and the lines of examples as they are."""
        indent = " " * self.current_indent
        self.write("\n\n".join(self._paragraph(part, indent) for part in text.split("\n\n")) + "\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write names and what is said of each, in two columns, or one below the other where it is narrow."""
        held = list(rows)
        column = min(max(len(name) for name, _ in held), col_max) + col_spacing if self.width >= NARROW else 4
        indent = " " * (self.current_indent + column)
        for name, text in held:
            start = " " * self.current_indent + name
            beside = len(start) + col_spacing <= len(indent)
            said = self._paragraph(text, indent)
            self.write(f"{start.ljust(len(indent))}{said.lstrip()}\n" if beside else f"{start}\n{said}\n")

    def _paragraph(self, text: str, indent: str) -> str:
        if text.startswith(AS_IT_IS):
            return textwrap.indent(text.removeprefix(AS_IT_IS), indent)
        said, bracket, values = text.partition("  [")  # "  [default: auto]" stays on one line
        words = " ".join(said.split()) + bracket + values.replace(" ", NO_BREAK)
        filled = textwrap.fill(
            words, self.width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )
        return filled.replace(NO_BREAK, " ")


class Context(typer.Context):
    """The context of a command, whose help `HelpFormatter` makes."""

    formatter_class = HelpFormatter


def summary(text: str) -> str:
    """The first sentence of a help text."""
    return text.strip().partition("\n")[0].partition(". ")[0].rstrip(".") + "."


def format_help(command: Any) -> Any:
    """`command` (a parsed one, or a group), whose help shows `MODEL [PROMPT]` and not `{MODEL} <Path> ...`."""
    for other in getattr(command, "commands", {}).values():
        format_help(other)
    command.context_class = Context
    command.short_help = summary(command.help or "")
    for parameter in command.params:
        if parameter.param_type_name == "argument" and parameter.metavar:
            usage = parameter.metavar if parameter.required else f"[{parameter.metavar}]"
            parameter.display_type_rich = lambda ctx: None
            parameter.get_usage_pieces = lambda ctx, usage=usage: [usage]
    return command
