"""`llmlocal sessions`: the conversations that chats have left."""

from __future__ import annotations

from .. import options as o
from ..command_group import group
from ..ui import terminal

sessions = group("Conversations that were saved: list, show, export or remove them.", "llmlocal sessions ls")


@sessions.command()
def ls(as_json: o.Json = False) -> None:
    """List all sessions, the latest first."""
    from ..views.sessions import list_all

    list_all(as_json)


@sessions.command()
def show(session: o.SessionName) -> None:
    """Print a conversation."""
    from ...chat.store import load
    from ...chat.transcript import markdown

    terminal.show_text(markdown(load(session).conversation))


@sessions.command()
def export(
    session: o.SessionName, md: o.Markdown = False, as_json: o.Json = False, output: o.OutputFile = None
) -> None:
    """Write a conversation as Markdown (the default) or as one JSON object."""
    from ..views import sessions as saved_chats

    saved_chats.export(session, output, as_json=as_json and not md)


@sessions.command()
def rm(session: o.SessionName, yes: o.Yes = False) -> None:
    """Remove a session for good; on a terminal it asks first, elsewhere it needs --yes."""
    from ..views import sessions as saved_chats

    saved_chats.remove(session, yes)
