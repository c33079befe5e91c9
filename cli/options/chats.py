"""Chats and saved sessions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..choices import AtEnd, Rendering, ShownThoughts, Transcript, Wrapping
from ..option_groups import SETTING, Settled, option, setting
from .prompts import System, Template

FirstQuestion = Annotated[
    str | None, typer.Argument(metavar="QUESTION", help="The first question. Default: none.", show_default=False)
]
WrapLines = Annotated[
    Wrapping,
    typer.Option("--wrap", help="Break lines between words on a terminal; off leaves that to the terminal."),
    SETTING,
]
ContextEnd = Annotated[
    AtEnd,
    typer.Option("--context-end", help="When the context is full: ask, drop or summarize the oldest turns, or stop."),
    SETTING,
]
SessionName = Annotated[
    str, typer.Argument(metavar="ID", help="A session's id, or the beginning of it.", show_default=False)
]
SessionNames = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", help="Sessions' ids, or their beginnings.", show_default=False)
]
AllSessions = Annotated[bool, typer.Option("--all", help="Delete all saved chats.")]
SearchWords = Annotated[
    list[str],
    typer.Argument(metavar="WORDS...", help="Words, in any order and in any case of letters.", show_default=False),
]
ExportForm = Annotated[
    Transcript,
    typer.Option(
        "--format",
        help="md: Markdown; json: all that is known, as --json; openai: messages for OpenAI's API; sharegpt: "
        "ShareGPT's conversations.",
    ),
]
Markdown = Annotated[bool, typer.Option("--md", help="Write Markdown (the default).")]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstTurn(Settled):
    """What a chat begins with."""

    file: list[Path] | None = option(
        "-f", "--file", metavar="FILE", help="Send this text file with the first question; may be repeated."
    )
    system: System = None
    template: Template = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSession:
    """Which saved session a chat continues, and whether it is saved."""

    resume: bool = option("--continue", help="Continue the latest session.", default=False)
    session: str | None = option(
        "--session", metavar="ID", help="Continue this session, or start a new one with this name."
    )
    no_save: bool = setting(
        "--no-save", help="Save nothing to disk: no session, history or prompt cache.", default=False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCalls:
    """What the model may call."""

    tools: Path | None = setting(
        "--tools", metavar="FILE", help="JSON file of functions that the model may call (OpenAI format)."
    )
    tool_run: str = setting(
        "--tool-run",
        metavar="ask|never|CMD",
        help="How function calls run: ask before each, never, or pass every call to the program CMD.",
        default="ask",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatDisplay:
    """How a chat looks, and what it does with commands and a full context."""

    thoughts: ShownThoughts = setting(
        "--thoughts", help="Show thinking in full, as one folded line, or hide it.", default=ShownThoughts.show
    )
    render: Rendering = setting(
        "--render", help="Render Markdown; auto: on terminals with colours.", default=Rendering.auto
    )
    wrap: WrapLines = Wrapping.on
    context_end: ContextEnd = AtEnd.ask
    commands: bool = option(
        "--commands", help="Run lines that begin with / as commands also when they come from a pipe.", default=False
    )
