"""Sessions listed, written out, or removed."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

from ...errors import LlmlocalError, UsageError
from ..ui import terminal
from .model import to_json


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
        for s in good:
            when = datetime.fromtimestamp(s.changed).strftime("%Y-%m-%d %H:%M")
            terminal.lines(
                [f"{s.id}  {when}  {len(s.conversation.turns):>4} turns  {terminal.one_line(s.title)}"], hang=4
            )
    for error in found:
        if isinstance(error, LlmlocalError):
            terminal.note(f"damaged: {error}")


def export(id: str, output: Path | None, *, as_json: bool) -> None:
    """A conversation to stdout or into a file, which must not exist."""
    from ...chat.store import load
    from ...chat.transcript import markdown, record
    from ...files.atomic_file import atomic_file

    saved = load(id)
    facts = {"id": saved.id, "created": saved.created, "model": saved.model}
    text = to_json(**facts, **record(saved.conversation)) + "\n" if as_json else markdown(saved.conversation)
    if output is None or output == Path("-"):
        terminal.show_text(text)
        return
    with atomic_file(output) as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def remove_session(id: str, yes: bool) -> None:
    """Delete a session. Raises UsageError if nobody can be asked and --yes was not given."""
    from ...chat.store import find, remove
    from ..ui.keyboard import YES_NO, PlainKeyboard

    whole = find(id)
    if not yes:
        if sys.stdin is None or not sys.stdin.isatty():
            raise UsageError(f"this deletes {whole} permanently", "add --yes to confirm")
        if PlainKeyboard().ask(f"Delete {whole} permanently?", YES_NO) != "yes":
            return
    remove(whole)
    terminal.note(f"deleted {whole}")
