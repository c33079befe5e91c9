"""Commands of a chat that open something else, a model or a session, or write the conversation to a file."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from ...errors import LlmlocalError, UsageError
from ...text import counted
from ..model_argument import local_or_pulled
from ..ui.keyboard import YES_NO
from ..views.sessions import line
from .arguments import path_of
from .loading import Loading
from .turns import TurnRunner

LISTED = 20  # sessions that /sessions shows


def model(runner: TurnRunner, rest: str) -> None:
    """[MODEL]: show the model, or continue with another one: a name, an alias, hf:org/repo or a file"""
    from ...chat.chat import Chat

    old = runner.chat
    if not rest:
        runner.screen.told([str(old.session.gguf.path)])
        return
    path = local_or_pulled(str(path_of(rest)), lambda question: runner.asked(question, YES_NO) == "yes")
    runner.stop_loading()
    session = runner.open_model(str(path))
    try:
        new, loading = Chat(session, old.conversation, old.settings), Loading(session)
    except BaseException:
        session.close()
        raise
    old.session.close()
    runner.chat, runner.loading = new, loading
    runner.save({"type": "model", "model": str(path)})
    runner.screen.aside(f"(now using {rest})")


def save(runner: TurnRunner, rest: str) -> None:
    """FILE: write the conversation to a file, as JSON if its name ends in .json, otherwise as Markdown"""
    from ...chat.transcript import markdown, record
    from ...files.atomic_file import atomic_file
    from ..views.model import to_json

    if not rest:
        raise UsageError("/save needs a file", "such as /save chat.md")
    path, conversation = path_of(rest), runner.chat.conversation
    text = to_json(**record(conversation)) + "\n" if path.suffix == ".json" else markdown(conversation)
    with atomic_file(path) as file:
        file.write(text.encode("utf-8", "replace"))
    runner.screen.aside(f"(written to {path})")


def sessions(runner: TurnRunner, rest: str) -> None:
    """list the saved sessions, the latest first"""
    from ...chat.store import listing

    found = [saved for saved in islice(listing(), LISTED) if not isinstance(saved, LlmlocalError)]
    runner.screen.told([line(saved) for saved in found] or ["(no session is saved)"], hang=4)


def load(runner: TurnRunner, rest: str) -> None:
    """ID: continue a saved session with the present model; /sessions lists them"""
    from ...chat import store

    if not rest:
        raise UsageError("/load needs the id of a session, or its beginning", "/sessions lists them")
    saved = store.load(rest)
    if runner.saved is not None:
        runner.close_saved()
        runner.saved = store.named(saved.id, saved.model, None)
    runner.chat.conversation = saved.conversation
    path = Path(runner.chat.session.gguf.path)
    if str(path) != saved.model:
        runner.save({"type": "model", "model": str(path)})
    runner.show_last()
    runner.screen.aside(f"(continued {saved.id} after {counted(len(saved.conversation.turns), 'turn')})")
