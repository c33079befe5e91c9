"""Command lines in documents and answers: cut into words as a shell does, and parsed by the program's own parser."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import typer

from llmlocal.cli.main import ParseError, app

ASSIGNMENT = re.compile(r"[A-Z_]+=\S+")
SEPARATORS = re.compile(r"[|;&<>()]+")


def typed(code: str) -> Iterator[list[str]]:
    """The words after `llmlocal` of every command in a line of shell, without redirections and comments."""
    lexer = shlex.shlex(code, posix=True, punctuation_chars="|;<>()&")
    lexer.whitespace_split = True
    command: list[str] = []
    for word in [*lexer, ";"]:
        if not SEPARATORS.fullmatch(word):
            command.append(word)
            continue
        while command and ASSIGNMENT.fullmatch(command[0]):
            del command[0]
        if command[:1] == ["llmlocal"]:
            yield command[1:]
        command = []


def parsed(words: list[str]) -> None:
    """Raises AssertionError where the program has no such command, option or place for an argument. Runs nothing."""
    command: Any = typer.main.get_command(app)
    context = typer.Context(command)
    rest = list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        command = command.get_command(context, name)
        assert command, f"no command {name!r} in {shlex.join(words)}"
        context = typer.Context(command, parent=context, info_name=name)
    try:
        values, left, _ = command.make_parser(context).parse_args(rest)
    except ParseError as error:
        raise AssertionError(f"llmlocal {shlex.join(words)}: {error}") from error
    assert not left, f"llmlocal {shlex.join(words)}: {left} is too much"
    if rest and "--help" not in rest:  # a command alone is only spoken of
        missing = [p.name for p in command.params if p.required and values.get(p.name) is None]
        assert not missing, f"llmlocal {shlex.join(words)}: {missing} is missing"
