"""What can be typed after a slash in a chat: the name of each command, what it does, how it is completed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UsageError
from ..choices import Rendering, ShownThoughts
from ..ui import terminal
from ..ui.answer import summary
from ..ui.chat import copy, tell
from ..ui.keyboard import edited

if TYPE_CHECKING:
    from .turns import Talk


def perform(talk: Talk, line: str) -> bool:
    """Do what a line with a slash says; whether the chat goes on. Raises UsageError for an unknown command."""
    name, _, rest = line[1:].partition(" ")
    if name in ("exit", "quit", "bye"):
        return False
    found = COMMANDS.get(name)
    if found is None:
        close = get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean /{close[0]}?" if close else "/help lists them; // begins a text with a slash"
        raise UsageError(f"no command /{name}", hint)
    found(talk, rest.strip())
    return True


def help_(talk: Talk, rest: str) -> None:
    """list these commands"""
    width = max(map(len, COMMANDS)) + 3
    tell(f"{'/' + name:<{width}}{command.__doc__}" for name, command in COMMANDS.items())
    tell(
        [f"{'/exit':<{width}}leave, as Ctrl-D does", "Enter sends, Alt-Enter or Ctrl-J begins a new line, Ctrl-C stops"]
    )


def clear(talk: Talk, rest: str) -> None:
    """forget the conversation; the system text stays"""
    talk.dialogue.talk.clear()
    talk.save({"type": "clear"})
    talk.screen.aside("(a new conversation)")


def undo(talk: Talk, rest: str) -> None:
    """take the last turn away"""
    talk.screen.aside("(the last turn is gone)" if talk.undo() else "(there is no turn)")


def retry(talk: Talk, rest: str) -> None:
    """answer the last question anew"""
    turns = talk.dialogue.talk.turns
    if not turns:
        raise UsageError("there is no question to answer anew")
    talk.retry(turns[-1].question)


def edit(talk: Talk, rest: str) -> None:
    """change the last question in $EDITOR, and answer it anew"""
    turns = talk.dialogue.talk.turns
    text = edited(turns[-1].question if turns else "")
    if text is None:
        raise UsageError("the editor failed", "set EDITOR")
    if not text.strip() or (turns and text == turns[-1].question):
        talk.screen.aside("(nothing was changed)")
    elif turns:
        talk.retry(text)
    else:
        talk.ask(text)


def read(talk: Talk, rest: str) -> None:
    """FILE [question]: give the model a file to read"""
    from ...chat_format.prompt import with_files
    from ..text_input import read_files

    name, question = _first_word(rest)
    if not name:
        raise UsageError("/read needs a file")
    text = with_files(read_files([Path(name).expanduser()]), question.encode("utf-8", "surrogateescape"))
    talk.ask(text.decode("utf-8", "surrogateescape"))


def system(talk: Talk, rest: str) -> None:
    """[TEXT]: show or set what the model is told to be; "off" for nothing"""
    if not rest:
        tell([talk.dialogue.talk.system or "(no system text)"])
        return
    talk.dialogue.talk.system = None if rest == "off" else rest
    talk.save({"type": "system", "text": talk.dialogue.talk.system})


def set_(talk: Talk, rest: str) -> None:
    """[key value]: show or set temperature, top_k, top_p, min_p, seed, max_tokens and others"""
    from ...generation.sampling_defaults import NAMES, parameter

    settings = talk.dialogue.settings
    if not rest:
        shown = {name: getattr(settings.sampling, name) for name in NAMES} | {"max_tokens": settings.max_tokens}
        tell(f"{name} {'none' if value is None else value}" for name, value in shown.items())
        return
    key, value = _first_word(rest)
    key = {"temp": "temperature", "n": "max_tokens", "typical": "typical_p"}.get(
        key.replace("-", "_"), key.replace("-", "_")
    )
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


def model(talk: Talk, rest: str) -> None:
    """NAME: go on with another model"""
    from ...chat.chat import Dialogue

    if not rest:
        tell([str(talk.dialogue.session.gguf.path)])
        return
    session, old = talk.open_model(rest), talk.dialogue
    try:
        talk.dialogue = Dialogue(session, old.talk, old.settings)
    except BaseException:
        session.close()
        raise
    old.session.close()
    talk.save({"type": "model", "model": rest})
    talk.screen.aside(f"(now with {rest})")


def think(talk: Talk, rest: str) -> None:
    """[on|off|auto|show|fold|hide]: how the model thinks and what is shown of it; alone, the last thought"""
    if rest in ("on", "off", "auto"):
        talk.dialogue.settings.think = rest  # type: ignore[assignment]
    elif rest in list(ShownThoughts):
        talk.screen.thoughts = ShownThoughts(rest)
    elif rest:
        raise UsageError(f"/think {rest}: must be on, off, auto, show, fold or hide")
    else:
        turns = talk.dialogue.talk.turns
        terminal.show_text((turns[-1].thought if turns else "") or "(nothing was thought)")


def context(talk: Talk, rest: str) -> None:
    """how full the context is"""
    dialogue = talk.dialogue
    n, n_ctx, seen = (
        len(dialogue.prompt().ids) if dialogue.talk.turns else 0,
        dialogue.session.n_ctx,
        dialogue.talk.seen(),
    )
    hidden = f", {dialogue.talk.first} older ones are not" if dialogue.talk.first else ""
    summary = ", but for a summary of them" if dialogue.talk.summary else ""
    tell([f"{n} of {n_ctx} tokens ({100 * n // n_ctx} %): {seen} turns are seen{hidden}{summary}"])


def stats(talk: Talk, rest: str) -> None:
    """speed of the last answer"""
    tell([summary(talk.end) if talk.end else "there is no answer yet"])


def save(talk: Talk, rest: str) -> None:
    """FILE: write the conversation, as JSON where the name ends so, else as Markdown"""
    from ...chat.transcript import markdown, record
    from ...files.atomic_file import atomic_file
    from ..views.model import to_json

    if not rest:
        raise UsageError("/save needs a file")
    path, conversation = Path(rest).expanduser(), talk.dialogue.talk
    text = to_json(**record(conversation)) + "\n" if path.suffix == ".json" else markdown(conversation)
    with atomic_file(path) as file:
        file.write(text.encode("utf-8", "replace"))
    talk.screen.aside(f"(written to {path})")


def copy_(talk: Talk, rest: str) -> None:
    """put the last answer into the clipboard"""
    turns = talk.dialogue.talk.turns
    if not turns or not turns[-1].answer:
        raise UsageError("there is no answer to copy")
    way = copy(turns[-1].answer)
    if not way:
        raise UsageError("there is no clipboard here", "/save FILE writes the conversation")
    talk.screen.aside(f"(copied by {way})")


def raw(talk: Talk, rest: str) -> None:
    """draw Markdown, or show it as it is"""
    talk.screen.render = Rendering.off if talk.screen.rendered else Rendering.on
    talk.screen.aside("(Markdown is drawn)" if talk.screen.rendered else "(Markdown is shown as it is)")


COMMANDS: Mapping[str, Callable[[Talk, str], None]] = {
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
WORDS: Mapping[str, tuple[str, ...]] = {
    "think": ("on", "off", "auto", *ShownThoughts),
    "set": ("temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "seed", "max_tokens"),
}
PATHS = ("read", "save", "model")


def complete(text: str) -> tuple[int, Iterable[str]]:
    """How many characters at the end of `text` can be replaced, and by what."""
    if not text.startswith("/") or "\n" in text:
        return 0, ()
    name, blank, rest = text[1:].partition(" ")
    if not blank:
        return len(text), [f"/{command}" for command in (*COMMANDS, "exit") if command.startswith(name)]
    if name in WORDS:
        return len(rest), [word for word in WORDS[name] if word.startswith(rest)]
    return (len(rest), _paths(rest)) if name in PATHS else (0, ())


def _paths(start: str) -> list[str]:
    folder, last = os.path.split(start)
    found = []
    with suppress(OSError):
        for entry in sorted(Path(folder or ".").expanduser().iterdir()):
            if entry.name.startswith(last) and (last or not entry.name.startswith(".")):
                found.append(os.path.join(folder, entry.name) + ("/" if entry.is_dir() else ""))
    return found


def _first_word(text: str) -> tuple[str, str]:
    """The first word, which may be in quotes, and the rest."""
    if text[:1] in ("'", '"') and (end := text.find(text[0], 1)) > 0:
        return text[1:end], text[end + 1 :].strip()
    word, _, rest = text.partition(" ")
    return word, rest.strip()
