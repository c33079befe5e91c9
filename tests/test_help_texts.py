"""What the program says about its own commands and options is true: in messages, hints, examples and the reference."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from command_lines import parsed

from llmlocal.cli.chat import slash_commands
from llmlocal.cli.main import app

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools"))
OPTIONS_OF_OTHERS = {"--clipboard", "--input"}  # xsel's
WIDTHS = (80, 40)  # of terminals; an example is a line of up to 80 columns
PROSE = {"needs", "may", "again"}  # what follows the program's name where it is the subject of a sentence


@cache
def commands() -> dict[tuple[str, ...], Any]:
    """Every command and subcommand by its words, with the context that its help needs."""
    program: Any = typer.main.get_command(app)
    found: dict[tuple[str, ...], Any] = {}

    def walk(command: Any, words: tuple[str, ...], parent: Any) -> None:
        context = command.make_context(words[-1] if words else "llmlocal", [], parent=parent, resilient_parsing=True)
        found[words] = context
        for name in getattr(command, "commands", ()):
            walk(command.get_command(context, name), (*words, name), context)

    walk(program, (), None)
    return found


def options(words: tuple[str, ...]) -> set[str]:
    context = commands()[words]
    return {
        name for p in context.command.get_params(context) for name in (*p.opts, *p.secondary_opts) if name[0] == "-"
    }


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string in a file that is not a docstring; what an f-string fills in is an X."""
    tree = ast.parse(path.read_bytes())
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            inside.update(value for value in node.values if isinstance(value, ast.Constant))
            parts = (str(v.value) if isinstance(v, ast.Constant) else "X" for v in node.values)
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside:
            yield node.lineno, node.value


SOURCES = sorted(path for folder in ("cli", "llmlocal", "quant") for path in (ROOT / folder).rglob("*.py"))


def test_messages_and_hints_name_what_exists() -> None:
    """Every --option belongs to some command, and after `llmlocal COMMAND` to that command."""
    known = OPTIONS_OF_OTHERS.union(*(options(words) for words in commands()))
    wrong, seen = [], 0
    for path in SOURCES:
        for line, text in texts(path):
            named = re.findall(r"(?<![\w<-])--[a-z][a-z-]*", text)
            said = [f"no option {option}" for option in named if option not in known]
            for call in re.finditer(r"\bllmlocal (?=[a-z])([^;,.()`\n]*)", text):
                words = call[1].split()
                if words[0] in PROSE:
                    continue
                command = next(tuple(words[:n]) for n in (2, 1, 0) if tuple(words[:n]) in commands())
                own = {word for word in words if re.match("--[a-z]", word)}
                said += [f"no command llmlocal {words[0]}"] * (not command)
                said += [f"llmlocal {' '.join(command)} has no {option}" for option in own - options(command)]
                seen += bool(command)
            wrong += [f"{path.relative_to(ROOT)}:{line} {what}" for what in said]
            seen += len(named)
    assert not wrong, "\n".join(wrong)
    assert seen > 100


def command_lines(text: str) -> Iterator[list[str]]:
    """The words after each `llmlocal` in a message, up to the end of the clause; a hint may begin with the command."""
    if " --" in text and (text.split(" ")[0],) in commands() and "\n" not in text:
        text = f"llmlocal {text}"
    for call in re.finditer(r"\bllmlocal (?=[a-z]|--)([^;,()`\n]*)", text):
        words = call[1].rstrip(".:").split()
        if words[0] not in PROSE:
            yield words


def wrong_line(words: list[str]) -> str:
    """Why no beginning of `words` that has all their options can be typed; empty where one can. The rest is prose."""
    least = max((i for i, word in enumerate(words) if word.startswith("-")), default=-1) + 1
    group = (words[0],) in commands() and hasattr(commands()[(words[0],)].command, "commands")
    why = ""
    for n in range(len(words), min(max(least, 1 + group), len(words)) - 1, -1):
        try:
            parsed([word.strip("'\"[]") for word in words[:n]])
        except AssertionError as error:
            why = str(error)
        else:
            return ""
    return why


def takes_value(option: str) -> bool:
    found = [p for c in commands().values() for p in c.command.get_params(c) if option in (*p.opts, *p.secondary_opts)]
    return any(not getattr(p, "is_flag", False) for p in found)


def test_every_command_line_of_a_message_can_be_typed() -> None:
    """Those after `llmlocal` parse whole; a value after an option stands where the option takes one."""
    wrong, lines, values = [], 0, 0
    for path in SOURCES:
        for at, text in texts(path):
            for words in command_lines(text):
                lines += 1
                if why := wrong_line(words):
                    wrong.append(f"{path.relative_to(ROOT)}:{at} {why}")
            for option, value in re.findall(r"(?<![\w<-])(--[a-z][a-z-]*) ([A-Z]+|\d+)\b(?! (?:and|or) --)", text):
                values += 1
                if option not in OPTIONS_OF_OTHERS and not takes_value(option):
                    wrong.append(f"{path.relative_to(ROOT)}:{at} {option} takes no {value}")
    assert not wrong, "\n".join(wrong)
    assert lines > 40 and values > 15, (lines, values)


def test_wrong_lines_are_found() -> None:
    assert "nothing" in wrong_line(["nothing", "at", "all"])
    assert wrong_line(["chat", "--continue", "--ctx", "5", "holds", "it"]) == ""
    assert "--nowhere" in wrong_line(["chat", "--nowhere", "5", "holds", "it"])
    assert "--ctx" in wrong_line(["chat", "--ctx"])
    assert "nosuch" in wrong_line(["gguf", "nosuch", "model.gguf"])


def test_slash_commands_of_messages_exist() -> None:
    wrong, seen = [], 0
    for path in (ROOT / "cli").rglob("*.py"):
        for at, text in texts(path):
            for name in re.findall(r"(?:^|[\s(;])/([a-z]+)(?=[\s),;.]|$)", text):
                seen += 1
                if not slash_commands.is_command(f"/{name}"):
                    wrong.append(f"{path.relative_to(ROOT)}:{at} /{name}")
    assert not wrong, "\n".join(wrong)
    assert seen > 15, seen


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_an_example_that_parses(words: tuple[str, ...]) -> None:
    """The help shows a call of the command itself, or of its subcommands."""
    context = commands()[words]
    examples = re.findall(r"(?<!\w)llmlocal [^\n]*", (context.command.help or "").partition("Example")[2])
    assert any(tuple(example.split()[1:])[: len(words)] == words for example in examples), examples
    for example in examples:
        called = shlex.split(re.split(r" [<>|]|\)", example)[0])[1:]
        depth = max(n for n in (0, 1, 2) if tuple(called[:n]) in commands())
        command = commands()[tuple(called[:depth])].command
        with command.make_context("llmlocal", called[depth:]) as parsed:
            assert parsed.params is not None


@pytest.mark.parametrize("width", WIDTHS)
def test_help_fits_and_breaks_between_words(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for words, context in commands().items():
        help = context.get_help()
        text, _, examples = help.partition("Example")
        examples, _, options = examples.partition("\n\n")
        broken = [line for line in text.splitlines() + options.splitlines() if not line.startswith("  -")]
        assert max(map(len, broken)) <= width, words
        assert max(map(len, examples.splitlines())) <= WIDTHS[0], words
        for parameter in context.command.get_params(context):
            assert set((parameter.help or "").split()) <= set(help.split()), (words, parameter.name)


def test_next_steps_fit(said: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program says without a command: at 80 columns as in the first minute."""
    for width in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        code, out, _ = said()
        assert code == 0 and max(map(len, out.splitlines())) <= width
        assert (out in (ROOT / "docs/first-minute.md").read_text()) == (width == 80)


def test_no_summary_is_cut_off() -> None:
    """In a list of commands each is told in one whole line."""
    for words, context in commands().items():
        assert "..." not in context.get_help().partition("Commands:")[2], words


def test_the_command_reference_is_what_the_commands_say() -> None:
    from make_command_reference import PAGE, reference

    assert PAGE.read_text() == reference(), "run tools/make_command_reference.py"
