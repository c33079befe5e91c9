"""What Tab offers in a chat: commands, their words, models, sessions and files, each with what it is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress

from ...errors import LlmlocalError
from ..choices import ShownThoughts
from .arguments import path_of
from .slash_commands import COMMANDS

Words = Iterable[tuple[str, str]]  # each with what it means
WORDS: Mapping[str, tuple[str, ...]] = {
    "think": ("on", "off", "auto", *ShownThoughts),
    "set": ("temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "seed", "max_tokens"),
    "copy": ("code",),
    "edit": ("last",),
    "system": ("off",),
}
LEAVE = "leave the chat, as Ctrl-D does"


def complete(text: str) -> tuple[int, Words]:
    """Completions of a line: how many characters at its end are replaced, and by what."""
    if not text.startswith("/") or "\n" in text:
        return 0, ()
    name, blank, rest = text[1:].partition(" ")
    if not blank:
        known = {**{command: does.__doc__ or "" for command, does in COMMANDS.items()}, "exit": LEAVE}
        return len(text), [(f"/{command}", does) for command, does in known.items() if command.startswith(name)]
    if name in WORDS:
        return len(rest), [(word, "") for word in WORDS[name] if word.startswith(rest)]
    found = {"read": _paths, "save": _paths, "model": _models, "load": _sessions}.get(name)
    return (len(rest), found(rest)) if found else (0, ())


def _paths(start: str) -> list[tuple[str, str]]:
    folder, last = os.path.split(start)
    found = []
    with suppress(OSError):
        for entry in sorted(path_of(folder or ".").iterdir()):
            if entry.name.startswith(last) and (last or not entry.name.startswith(".")):
                is_folder = entry.is_dir()
                name = os.path.join(folder, entry.name) + "/" * is_folder
                found.append((name, "folder" if is_folder else ""))
    return found


def _models(start: str) -> list[tuple[str, str]]:
    """Names of models, those on this machine first, and files."""
    from ...hub.index import installed
    from ...hub.names import catalog_names

    with suppress(LlmlocalError, OSError):
        here = {model.name: "on this machine" for model in installed(facts=False) if not model.old}
        names = {**here, **{name: "can be downloaded" for name in catalog_names() if name not in here}}
        return [(name, what) for name, what in names.items() if name.startswith(start)] + _paths(start)
    return _paths(start)


def _sessions(start: str) -> list[tuple[str, str]]:
    from ...chat.store import listing

    with suppress(LlmlocalError, OSError):
        saved = [found for found in listing() if not isinstance(found, LlmlocalError)]
        return [(s.id, f"{len(s.conversation.turns)} turns: {s.title}") for s in saved if s.id.startswith(start)]
    return []
