"""Chats and saved sessions."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ...errors import UsageError
from ..choices import AtEnd, Rendering, ShownThoughts, Transcript, Wrapping
from ..option_groups import SETTING, OptionGroup, Settled, option, parameter, positional, setting
from .prompts import System, Template

if TYPE_CHECKING:
    from ...chat.tools import Tool
    from ..ui.answer import AnswerScreen
    from ..views.calls import Functions

FirstQuestion = Annotated[str | None, positional("QUESTION", "The first question. Default: none.")]
WrapLines = Annotated[
    Wrapping, parameter("--wrap", "Break lines between words on a terminal; off leaves that to the terminal."), SETTING
]
ContextEnd = Annotated[
    AtEnd,
    parameter("--context-end", "When the context is full: ask, drop or summarize the oldest turns, or stop."),
    SETTING,
]
SessionName = Annotated[str, positional("ID", "A session's id, or the beginning of it.")]
SessionNames = Annotated[list[str] | None, positional("ID...", "Sessions' ids, or their beginnings.")]
AllSessions = Annotated[bool, parameter("--all", "Delete all saved chats.")]
SearchWords = Annotated[list[str], positional("WORDS...", "Words, in any order and in any case of letters.")]
ExportForm = Annotated[
    Transcript,
    parameter(
        "--format",
        "md: Markdown; json: all that is known, as --json; openai: messages for OpenAI's API; sharegpt: "
        "ShareGPT's conversations.",
    ),
]
Markdown = Annotated[bool, parameter("--md", "Write Markdown (the default).")]


class FirstTurn(Settled):
    """What a chat begins with."""

    file: list[Path] | None = option("-f --file FILE", "Send this text file with the first question; may be repeated.")
    system: System = None
    template: Template = None


class SavedSession(OptionGroup):
    """Which saved session a chat continues, and whether it is saved."""

    resume: bool = option("--continue", "Continue the latest session.", default=False)
    session: str | None = option("--session ID", "Continue this session, or start a new one with this name.")
    no_save: bool = setting("--no-save", "Save nothing to disk: no session, history or prompt cache.", default=False)


class FunctionCalls(OptionGroup):
    """What the model may call."""

    tools: Path | None = setting("--tools FILE", "JSON file of functions that the model may call (OpenAI format).")
    tool_run: str = setting(
        "--tool-run ask|never|CMD",
        "How function calls run: ask before each, never, or pass every call to the program CMD.",
        default="ask",
    )
    tool_choice: str = option(
        "--tool-choice auto|none|required|NAME",
        "Whether the model may call functions, must call one, or must call the function NAME; holds for the first "
        "answer to each question.",
        default="auto",
    )

    mcp: Path | None = option(
        "--mcp CONFIG", "JSON file of MCP servers whose tools the model may call. Default: none. Needs the extra mcp."
    )

    @property
    def declared(self) -> bool:
        """Whether functions are declared."""
        return self.tools is not None or self.mcp is not None

    def check(self, others: Mapping[str, bool]) -> None:
        """Raises UsageError for an option that is given, and that functions cannot go with."""
        name = "--tools" if self.tools is not None else "--mcp"
        for other, given in others.items():
            if given and self.declared:
                raise UsageError(f"{other} and {name} cannot be combined", f"leave out {other}")

    @contextmanager
    def opened(self, screen: AnswerScreen) -> Iterator[Functions]:
        """The functions, and how calls run; MCP servers run until the end.

        Raises as `tools.load` and `McpServers`, UsageError for options without meaning.
        """
        from ..views.calls import Functions

        how: tuple[str, ...] | str = self.tool_run
        if self.tool_run not in ("ask", "never"):
            how = tuple(shlex.split(self.tool_run))
        if not how:
            raise UsageError("--tool-run is empty", "give ask, never or a program")
        if not self.declared and self.tool_choice != "auto":
            raise UsageError("--tool-choice has no effect without --tools or --mcp", "declare functions with --tools")
        tools: tuple[Tool, ...] = ()
        if self.tools is not None:
            from ...chat.tools import load

            tools = tuple(load(self.tools))
        with ExitStack() as stack:
            if self.mcp is not None:
                from ...chat.mcp import McpServers, servers

                screen.busy("starting MCP servers")
                stack.callback(screen.clear)
                running = stack.enter_context(McpServers(servers(self.mcp)))
                screen.clear()
                screen.notes(running.notes)
                tools += tuple(running.tools)
            if self.declared:
                from ...chat_format.call_form import chosen

                chosen([tool.declared for tool in tools], self.tool_choice)
            yield Functions(tools, how, self.tool_choice)


class ChatDisplay(OptionGroup):
    """How a chat looks, and what it does with commands and a full context."""

    thoughts: ShownThoughts = setting(
        "--thoughts", "Show thinking in full, as one folded line, or hide it.", default=ShownThoughts.show
    )
    render: Rendering = setting("--render", "Render Markdown; auto: on terminals with colours.", default=Rendering.auto)
    wrap: WrapLines = Wrapping.on
    context_end: ContextEnd = AtEnd.ask
    commands: bool = option(
        "--commands", "Run lines that begin with / as commands also when they come from a pipe.", default=False
    )
