"""`llmlocal sessions`: list, show, export and remove saved chats."""

from __future__ import annotations

from .. import options as o
from ..command_group import group
from ..ui import terminal

sessions = group("List, show, export or remove saved chats.", "llmlocal sessions ls")


@sessions.command()
def ls(as_json: o.Json = False) -> None:
    """List saved chats, the latest first.

    \b
    Example: llmlocal sessions ls
    """
    from ..views.sessions import list_all

    list_all(as_json)


@sessions.command()
def show(session: o.SessionName) -> None:
    """Print a saved chat as Markdown.

    \b
    Example: llmlocal sessions show trip
    """
    from ...chat.store import load
    from ...chat.transcript import markdown

    terminal.show_text(markdown(load(session).conversation))


@sessions.command()
def export(
    session: o.SessionName, md: o.Markdown = False, as_json: o.Json = False, output: o.OutputFile = None
) -> None:
    """Export a saved chat as Markdown or JSON.

    \b
    Example: llmlocal sessions export trip --json -o trip.json
    """
    from ..views import sessions as saved_chats

    saved_chats.export(session, output, as_json=as_json and not md)


@sessions.command()
def rm(session: o.SessionName, yes: o.Confirmed = False) -> None:
    """Delete a saved chat permanently.

    On a terminal it asks first; in a script it needs --yes.

    \b
    Example: llmlocal sessions rm trip
    """
    from ..views import sessions as saved_chats

    saved_chats.remove_session(session, yes)
