"""Write docs/commands.md, the command reference, from what the commands say of themselves.

python tools/make_command_reference.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from llmlocal.cli.main import COMMANDS, app

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
INTRODUCTION = """# Commands

<!-- Written by tools/make_command_reference.py from the program's help; do not edit. -->

Every command prints its help with `-h`, `--help`, or as `llmlocal help COMMAND`. Results go to stdout, everything else
to stderr. Exit codes: 0 success, 1 the answer is no, 2 wrong usage, 3 not found, 4 network, 5 bad file, 6 not enough
memory or disk, 7 the prompt does not fit the context, 8 an answer ended before it had its form, 9 rows of a batch
failed, 10 a threshold was missed or a replayed answer is another one, 70 a bug in llmlocal, 130 interrupted.
"""


def reference() -> str:
    """The whole page."""
    program: Any = typer.main.get_command(app)
    root = program.make_context("llmlocal", [], resilient_parsing=True)
    parts = [INTRODUCTION]
    for name in COMMANDS:
        parts += _sections(program.get_command(root, name), name, root, "##")
    return "\n".join(parts)


def _sections(command: Any, name: str, parent: Any, level: str) -> Iterator[str]:
    """A section for a command, and one for each of its subcommands."""
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    yield f"{level} {context.command_path}\n"
    about, _, examples = (command.help or "").partition("\b\n")
    yield f"{about.strip()}\n"
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
    for title in ("argument", "option"):
        records = [p.get_help_record(context) for p in command.get_params(context) if p.param_type_name == title]
        if shown := [record for record in records if record]:
            rows = [f"| `{_cell(names)}` | {_cell(text)} |" for names, text in shown]
            yield "\n".join([f"| {title.capitalize()} | Meaning |", "| --- | --- |", *rows, ""])
    if examples:
        lines = examples.rstrip().splitlines()
        start = len(lines[0].partition(": ")[0]) + 2
        yield "\n".join(["```sh", *(line[start:] for line in lines), "```", ""])
    for sub in getattr(command, "commands", {}):
        yield from _sections(command.get_command(context, sub), sub, context, f"{level}#")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("  [", " [")


if __name__ == "__main__":
    PAGE.write_text(reference())
