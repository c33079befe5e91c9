"""The commands of a chat: what each `/name` does, its line in /help, and how it is completed with Tab."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from ...errors import UsageError
from ..choices import Rendering, ShownThoughts
from ..ui import terminal
from ..ui.answer import summary
from ..ui.clipboard import copy
from ..ui.keyboard import edited
from .turns import TurnRunner, count

EXITS = ("exit", "quit", "bye")


def perform(runner: TurnRunner, line: str) -> bool:
    """Run the command that a line with a slash names. Returns whether the chat goes on; raises UsageError."""
    name, _, rest = line[1:].partition(" ")
    if name in EXITS:
        return False
    found = COMMANDS.get("help" if name == "?" else name)
    if found is None:
        close = get_close_matches(name, COMMANDS, 1)
        known = "type /help for the list; start with // to send text that begins with /"
        raise UsageError(f"no command /{name}", f"did you mean /{close[0]}?" if close else known)
    found(runner, rest.strip())
    return True


def is_command(line: str) -> bool:
    """Whether a line names one of the commands."""
    return line[:1] == "/" and line[1:].split(" ")[0] in (*COMMANDS, *EXITS, "?")


def help_(runner: TurnRunner, rest: str) -> None:
    """list the commands"""
    width = max(map(len, COMMANDS)) + 3
    lines = (f"{'/' + name:<{width}}{command.__doc__}" for name, command in COMMANDS.items())
    runner.screen.told(lines, hang=width)
    runner.screen.told(
        [
            f"{'/exit':<{width}}leave the chat, as Ctrl-D does",
            "Enter sends; Alt-Enter or Ctrl-J starts a new line; Ctrl-C stops an answer.",
            "Start with // to send text that begins with /.",
        ]
    )


def clear(runner: TurnRunner, rest: str) -> None:
    """start a new conversation; the system prompt stays"""
    runner.chat.conversation.clear()
    runner.save({"type": "clear"})
    runner.screen.aside("(new conversation)")


def undo(runner: TurnRunner, rest: str) -> None:
    """remove the last turn"""
    runner.screen.aside("(removed the last turn)" if runner.undo() else "(there is no turn to remove)")


def retry(runner: TurnRunner, rest: str) -> None:
    """try the last answer again"""
    turns = runner.chat.conversation.turns
    if not turns:
        raise UsageError("there is no answer to try again")
    runner.retry(turns[-1].question)


def edit(runner: TurnRunner, rest: str) -> None:
    """edit the last question in $VISUAL or $EDITOR and send it again"""
    turns = runner.chat.conversation.turns
    text = edited(turns[-1].question if turns else "")
    if text is None:
        raise UsageError("the editor could not be started or failed", "set EDITOR to the editor to use")
    if not text.strip() or (turns and text == turns[-1].question):
        runner.screen.aside("(nothing was changed)")
    elif turns:
        runner.retry(text)
    else:
        runner.ask(text)


def read(runner: TurnRunner, rest: str) -> None:
    """FILE [question]: send a text file, with a question about it"""
    from ...chat_format.prompt import with_files
    from ..text_input import files_source

    name, question = _first_word(rest)
    if not name:
        raise UsageError("/read needs a file", "such as /read notes.txt What is this about?")
    files = files_source([_path(name)])(runner.chat.session.most_bytes)
    text = with_files(files, question.encode("utf-8", "surrogateescape"))
    runner.ask(text.decode("utf-8", "surrogateescape"))


def system(runner: TurnRunner, rest: str) -> None:
    """[TEXT]: show or set the system prompt; /system off removes it"""
    conversation = runner.chat.conversation
    if not rest:
        runner.screen.told([conversation.system or "(no system prompt)"])
        return
    conversation.system = None if rest == "off" else rest
    runner.save({"type": "system", "text": conversation.system})


def set_(runner: TurnRunner, rest: str) -> None:
    """[NAME VALUE]: show or set temperature, top_k, top_p, min_p, seed, max_tokens and others"""
    from ...generation.sampling_defaults import NAMES, parameter

    settings = runner.chat.settings
    if not rest:
        values = {name: getattr(settings.sampling, name) for name in NAMES} | {"max_tokens": settings.max_tokens}
        runner.screen.told(f"{name} {'none' if value is None else value}" for name, value in values.items())
        return
    key, value = _first_word(rest)
    key = key.replace("-", "_")
    key = SHORT_NAMES.get(key, key)
    if key in ("max_tokens", "seed") and value == "none":
        if key == "seed":
            settings.sampling = replace(settings.sampling, seed=None)
        else:
            settings.max_tokens = None
    elif key == "max_tokens":
        if not value.isdecimal() or int(value) < 1:
            raise UsageError(f"max_tokens is {value}: must be a whole number of 1 or more, or none")
        settings.max_tokens = int(value)
    else:
        changed = {key: parameter(key, value)}
        settings.sampling = replace(settings.sampling, **changed)  # type: ignore[arg-type]


def model(runner: TurnRunner, rest: str) -> None:
    """[MODEL]: show the model, or continue with another one"""
    from ...chat.chat import Chat

    old = runner.chat
    if not rest:
        runner.screen.told([str(old.session.gguf.path)])
        return
    session = runner.open_model(rest)
    try:
        runner.chat = Chat(session, old.conversation, old.settings)
    except BaseException:
        session.close()
        raise
    old.session.close()
    runner.save({"type": "model", "model": rest})
    runner.screen.aside(f"(now using {rest})")


def think(runner: TurnRunner, rest: str) -> None:
    """[on|off|auto|show|fold|hide]: show the last thought, or set whether the model thinks or how that is shown"""
    if rest in ("on", "off", "auto"):
        runner.chat.settings.think = rest  # type: ignore[assignment]
    elif rest in list(ShownThoughts):
        runner.screen.thoughts = ShownThoughts(rest)
    elif rest:
        raise UsageError(f"/think {rest}: must be on, off, auto, show, fold or hide")
    else:
        turns = runner.chat.conversation.turns
        terminal.show_text((turns[-1].thought if turns else "") or "(the last answer has no thought)")


def context(runner: TurnRunner, rest: str) -> None:
    """show how full the context is, and which turns the model sees"""
    conversation, n_ctx = runner.chat.conversation, runner.chat.session.n_ctx
    n = len(runner.chat.prompt().ids) if conversation.turns else 0
    visible, hidden = conversation.visible(), conversation.first
    seen = "the last turn" if visible == 1 and hidden else count(visible, "turn")
    if hidden:
        seen += f" and a summary of {hidden} older" if conversation.summary else f", but not the {hidden} older"
        seen += " one" if hidden == 1 else " ones"
    runner.screen.told([f"{n} of {n_ctx} tokens ({100 * n // n_ctx}%); the model sees {seen}"])


def stats(runner: TurnRunner, rest: str) -> None:
    """show the speed of the last answer"""
    runner.screen.told([summary(runner.end) if runner.end else "there is no answer yet"])


def save(runner: TurnRunner, rest: str) -> None:
    """FILE: write the conversation to a file, as JSON if its name ends in .json, otherwise as Markdown"""
    from ...chat.transcript import markdown, record
    from ...files.atomic_file import atomic_file
    from ..views.model import to_json

    if not rest:
        raise UsageError("/save needs a file", "such as /save chat.md")
    path, conversation = _path(rest), runner.chat.conversation
    text = to_json(**record(conversation)) + "\n" if path.suffix == ".json" else markdown(conversation)
    with atomic_file(path) as file:
        file.write(text.encode("utf-8", "replace"))
    runner.screen.aside(f"(written to {path})")


def copy_(runner: TurnRunner, rest: str) -> None:
    """copy the last answer to the clipboard"""
    turns = runner.chat.conversation.turns
    if not turns or not turns[-1].answer:
        raise UsageError("there is no answer to copy")
    taker = copy(turns[-1].answer)
    if not taker:
        raise UsageError("no clipboard was found", "/save FILE writes the conversation to a file")
    runner.screen.aside(f"(copied with {taker})")


def raw(runner: TurnRunner, rest: str) -> None:
    """switch between formatted Markdown and plain text"""
    runner.screen.render = Rendering.off if runner.screen.draws_markdown else Rendering.on
    how = "formatted" if runner.screen.draws_markdown else "shown as plain text"
    runner.screen.aside(f"(Markdown is {how})")


COMMANDS: Mapping[str, Callable[[TurnRunner, str], None]] = {
    "help": help_,
    "clear": clear,
    "undo": undo,
    "retry": retry,
    "edit": edit,
    "read": read,
    "system": system,
    "set": set_,
    "model": model,
    "think": think,
    "context": context,
    "stats": stats,
    "save": save,
    "copy": copy_,
    "raw": raw,
}
SHORT_NAMES = {"temp": "temperature", "n": "max_tokens", "typical": "typical_p"}  # as the command line has them
WORDS: Mapping[str, tuple[str, ...]] = {
    "think": ("on", "off", "auto", *ShownThoughts),
    "set": ("temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "seed", "max_tokens"),
}
PATHS = ("read", "save", "model")


def complete(text: str) -> tuple[int, Iterable[str]]:
    """Completions of a line: how many characters at its end are replaced, and by what."""
    if not text.startswith("/") or "\n" in text:
        return 0, ()
    name, blank, rest = text[1:].partition(" ")
    if not blank:
        return len(text), [f"/{command}" for command in (*COMMANDS, "exit") if command.startswith(name)]
    if name in WORDS:
        return len(rest), [word for word in WORDS[name] if word.startswith(rest)]
    return (len(rest), _paths(rest)) if name in PATHS else (0, ())


def _path(text: str) -> Path:
    """A path as it was typed, with ~ for a home folder; of an unknown user it stays."""
    return Path(os.path.expanduser(text))


def _paths(start: str) -> list[str]:
    folder, last = os.path.split(start)
    found = []
    with suppress(OSError):
        for entry in sorted(_path(folder or ".").iterdir()):
            if entry.name.startswith(last) and (last or not entry.name.startswith(".")):
                found.append(os.path.join(folder, entry.name) + ("/" if entry.is_dir() else ""))
    return found


def _first_word(text: str) -> tuple[str, str]:
    """The first word, which may be in quotes, and the rest."""
    if text[:1] in ("'", '"') and (end := text.find(text[0], 1)) > 0:
        return text[1:end], text[end + 1 :].strip()
    word, _, rest = text.partition(" ")
    return word, rest.strip()
