"""`llmlocal sessions`: list, show, export and remove saved chats."""

from __future__ import annotations

from .. import choices
from ..command_group import group
from ..options.chats import AllSessions, ExportForm, Markdown, SearchWords, SessionName, SessionNames
from ..options.prompts import OutputFile
from ..options.report import Confirmed, Json
from ..ui import terminal

sessions = group("List, search, show, export or remove saved chats.", "llmlocal sessions ls")


@sessions.command()
def ls(as_json: Json = False) -> None:
    """List saved chats, the latest first.

    \b
    Example: llmlocal sessions ls
    """
    from ..views.sessions import list_all

    list_all(as_json)


@sessions.command()
def show(session: SessionName) -> None:
    """Print a saved chat as Markdown.

    \b
    Example: llmlocal sessions show trip
    """
    from ...chat.store import load
    from ...chat.transcript import markdown

    terminal.show_text(markdown(load(session).conversation))


@sessions.command()
def search(words: SearchWords, as_json: Json = False) -> None:
    """List the saved chats in which all WORDS occur, with the place.

    \b
    Example: llmlocal sessions search train tickets
    """
    from ..views.sessions import list_found

    list_found(words, as_json)


@sessions.command()
def export(
    session: SessionName,
    md: Markdown = False,
    as_json: Json = False,
    form: ExportForm = choices.Transcript.md,
    output: OutputFile = None,
) -> None:
    """Export a saved chat as Markdown or JSON.

    \b
    Examples: llmlocal sessions export trip --json -o trip.json
              llmlocal sessions export trip --format sharegpt
    """
    from ..views import sessions as saved_chats

    saved_chats.export(session, output, choices.Transcript.json if as_json and not md else form)


@sessions.command()
def rm(ids: SessionNames = None, every: AllSessions = False, yes: Confirmed = False) -> None:
    """Delete saved chats permanently.

    On a terminal it asks first; in a script it needs --yes.

    \b
    Examples: llmlocal sessions rm trip 20261127-0912
              llmlocal sessions rm --all --yes
    """
    from ..views import sessions as saved_chats

    saved_chats.remove_sessions(ids or (), every, yes)
