"""The loop of a chat: reads a line, asks the model or runs a slash command, until the user leaves."""

from __future__ import annotations

from ...errors import LlmlocalError
from ..ui import terminal
from ..ui.keyboard import no_echo, terminal_kept
from . import slash_commands
from .turns import TurnRunner

INTERRUPTED = 130


def chat_loop(runner: TurnRunner) -> int:
    """Chat until the user leaves; returns the exit code."""
    pressed = False
    keys = terminal_kept() if runner.keyboard.lines else no_echo(lines=False)
    with keys, runner.interrupts:
        while True:
            try:
                with runner.interrupts.reading():
                    if runner.interactive:
                        runner.screen.gap()
                    text = runner.keyboard.read(_context_meter(runner), runner.default)
            except KeyboardInterrupt:
                if pressed or not runner.interactive:
                    return INTERRUPTED
                pressed = True
                runner.screen.aside("press Ctrl-C again or Ctrl-D to leave")
                continue
            pressed, runner.default = False, ""
            if text is None:
                return 0
            try:
                if not _handle(runner, text):
                    return 0
            except KeyboardInterrupt:
                return INTERRUPTED
            except LlmlocalError as error:
                if not runner.interactive:
                    raise  # a script gets the exit code
                terminal.report(error, None)


def _handle(runner: TurnRunner, text: str) -> bool:
    """Send a line to the model, or run the command that it is. Returns whether the chat goes on."""
    if not text.strip():
        return True
    if not runner.interactive and not runner.options.commands:  # text of others: none of it is obeyed or changed
        if slash_commands.is_command(text):
            runner.note_once("a line that begins with / was sent as text; --commands runs such lines as commands")
        runner.ask(text)
    elif text.startswith("/") and not text.startswith("//"):
        return slash_commands.perform(runner, text)
    else:
        runner.ask(text.removeprefix("/") if text.startswith("//") else text)
    return True


def _context_meter(runner: TurnRunner) -> str:
    """How full the context is, as shown at the right of the prompt."""
    used, n_ctx = runner.used(), runner.chat.session.n_ctx
    return f"context {100 * used // n_ctx}% of {n_ctx}"
