"""Runs the functions that a model calls, as far as the user allows it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ...text import escaped, shown
from ..ui.answer import AnswerScreen
from ..ui.terminal import columns
from ..views.calls import Functions, call_lines, cut

if TYPE_CHECKING:
    from ...chat.tools import Tool
    from ...chat_format.tool_calls import Call

CONSENT = {"y": "yes", "yes": "yes", "always": "always", "n": "no", "no": "no"}
REFUSED = "the user did not allow this call"


class FunctionCaller:
    """Runs calls of functions, as far as the user allows it.

    `ask` and `line` are those of a `Keyboard`; `interactive`: a person is there.
    """

    def __init__(
        self,
        functions: Functions,
        screen: AnswerScreen,
        ask: Callable[[str, Mapping[str, str]], str],
        line: Callable[[str], str],
        *,
        interactive: bool,
    ) -> None:
        self._tools, self._how, self._screen = functions.tools, functions.how, screen
        self._ask, self._line, self._interactive = ask, line, interactive
        self._always: set[str] = set()  # functions that may run without asking again

    def result(self, call: Call) -> str | None:
        """The result of a call, None where the function is not run."""
        from ...chat.tools import run

        for line in call_lines(call.name, call.arguments, columns(sys.stderr)):
            self._screen.aside(line, always=self._how == "ask" and self._interactive)
        tool = next((tool for tool in self._tools if tool.name == call.name), None)
        if tool is None:
            return f"error: there is no function {shown(call.name)}"
        if self._how == "never":
            return None
        if isinstance(self._how, tuple):
            result = run(self._how, call, whole=True)
        elif not (tool.command or tool.remote):
            return self._line("result of the call (empty to refuse it):") or None
        elif not self._may_run(tool):
            return None
        else:
            result = run(tool.command, call) if tool.remote is None else tool.remote(call)
        self._screen.aside(f"result: {cut(result)}")
        return result or "(no output)"

    def _may_run(self, tool: Tool) -> bool:
        """Whether the user allows a call of this function; "always" holds for all later ones."""
        if tool.name not in self._always:
            what = f"call the MCP server {tool.server}" if tool.remote else f"run {escaped(tool.command[0])}"
            answer = self._ask(f"{what}? (always: also each later call of this function)", CONSENT)
            if answer == "always":
                self._always.add(tool.name)
            return answer != "no"
        return True
