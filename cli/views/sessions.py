"""Sessions listed, written out, or removed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import LlmlocalError, NotFoundError, UsageError
from ..choices import Transcript
from ..ui import terminal
from .model import to_json

if TYPE_CHECKING:
    from ...chat.store import SavedSession


def list_all(as_json: bool) -> None:
    """A line for each session, the latest first; damaged ones are named on stderr."""
    from ...chat.store import listing

    found = list(listing())
    good = [saved for saved in found if not isinstance(saved, LlmlocalError)]
    if as_json:
        names = ("id", "created", "model", "title")
        facts = [{name: getattr(s, name) for name in names} | {"turns": len(s.conversation.turns)} for s in good]
        terminal.say(to_json(sessions=facts))
    else:
        terminal.lines(map(line, good), hang=4)
    if not (found or as_json):
        terminal.tell_person("no saved chats yet: llmlocal chat saves each one")
    for error in found:
        if isinstance(error, LlmlocalError):
            terminal.note(f"damaged: {error}")


def line(saved: SavedSession) -> str:
    """A session in a line: id, when it was last written, turns, model, title."""
    when = datetime.fromtimestamp(saved.changed).strftime("%Y-%m-%d %H:%M")
    model = Path(saved.model).name.removesuffix(".gguf")
    turns = len(saved.conversation.turns)
    count = f"{turns:>4} turn{' ' if turns == 1 else 's'}"
    return terminal.one_line(f"{saved.id}  {when}  {count}  {model}  {saved.title}")


def list_found(words: Sequence[str], as_json: bool) -> None:
    """A line for each session that has all words, and one with the first place. Raises NotFoundError for none."""
    from ...chat.search import search

    found = list(search(words))
    if as_json:
        terminal.say(to_json(sessions=[{"id": saved.id, "title": saved.title, "text": text} for saved, text in found]))
    elif not found:
        raise NotFoundError("no saved chat has all these words", "llmlocal sessions ls lists all")
    else:
        for saved, text in found:
            terminal.lines([line(saved), f"    {terminal.one_line(text)}"], hang=4)


def export(id: str, output: Path | None, form: Transcript) -> None:
    """A conversation to stdout or into a file, which must not exist."""
    from ...chat.store import load
    from ...files.atomic_file import atomic_file

    text = written(load(id), form)
    if output is None or output == Path("-"):
        terminal.show_text(text)
        return
    with atomic_file(output) as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def written(saved: SavedSession, form: Transcript) -> str:
    """A session as a document."""
    from ...chat import transcript

    whole = saved.conversation
    if form is Transcript.md:
        return transcript.markdown(whole)
    if form is Transcript.openai:
        return json.dumps(transcript.openai(whole), ensure_ascii=False, indent=2) + "\n"
    if form is Transcript.sharegpt:
        return json.dumps(transcript.sharegpt(whole, saved.id), ensure_ascii=False, indent=2) + "\n"
    facts = {"id": saved.id, "created": saved.created, "model": saved.model}
    return to_json(**facts, **transcript.record(whole)) + "\n"


def remove_sessions(ids: Sequence[str], every: bool, yes: bool) -> None:
    """Delete sessions. Raises UsageError if nobody can be asked and --yes is missing, NotFoundError before any goes."""
    from ...chat.store import find, names, remove
    from ..ui.keyboard import YES_NO, PlainKeyboard

    if every == bool(ids):
        raise UsageError("name the sessions to delete, or give --all", "llmlocal sessions ls lists them")
    whole = names() if every else list(dict.fromkeys(map(find, ids)))
    if not whole:
        return terminal.note("there is no saved chat")
    what = whole[0] if len(whole) == 1 else f"{len(whole)} chats"
    if not yes:
        if sys.stdin is None or not sys.stdin.isatty():
            raise UsageError(f"this deletes {what} permanently", "add --yes to confirm")
        if PlainKeyboard().ask(f"Delete {what} permanently?", YES_NO) != "yes":
            return
    for id in whole:
        remove(id)
        terminal.note(f"deleted {id}")
