"""The loop of a chat: reads a line, asks the model or runs a slash command, until the user leaves."""

from __future__ import annotations

from ...errors import LlmlocalError
from ..ui import terminal
from ..ui.keyboard import YES_NO
from ..ui.typeahead import no_echo, terminal_kept
from . import slash_commands
from .turns import TurnRunner

INTERRUPTED = 130
# Words that people type to leave or for help: the command that each may stand for, and the question.
WORDS = {
    "exit": ("exit", "Leave the chat? (n sends the word to the model)"),
    "quit": ("exit", "Leave the chat? (n sends the word to the model)"),
    "help": ("help", "List the commands of the chat? (n sends the word to the model)"),
}


def chat_loop(runner: TurnRunner, question: str | None = None) -> int:
    """Chat until the user leaves; `question` is asked first. Returns the exit code."""
    pressed = False
    keys = terminal_kept() if runner.keyboard.lines else no_echo(lines=False)
    with keys, runner.interrupts:
        while True:
            try:
                with runner.interrupts.reading():
                    first, question = question, None
                    text = first or _read(runner)
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
                if first:
                    if runner.interactive:
                        runner.screen.aside(f"\n> {first}")
                    runner.ask(first)
                elif not _handle(runner, text):
                    return 0
            except KeyboardInterrupt:
                return INTERRUPTED
            except LlmlocalError as error:
                if not runner.interactive:
                    raise  # a script gets the exit code
                terminal.report(error, None)
                if text.startswith("/") and " " in text.strip():
                    runner.default = text  # to be corrected


def _read(runner: TurnRunner) -> str | None:
    """The next text of the user, None at the end."""
    if runner.interactive:
        runner.screen.gap()
    return runner.keyboard.read(_context_meter(runner), runner.default, runner.loading)


def _handle(runner: TurnRunner, text: str) -> bool:
    """Send a line to the model, or run the command that it is. Returns whether the chat goes on."""
    if not text.strip():
        return True
    if not runner.interactive and not runner.options.commands:  # text of others: none of it is obeyed or changed
        if slash_commands.is_command(text):
            runner.note_once("a line that begins with / was sent as text; --commands runs such lines as commands")
        runner.ask(text)
    elif text.startswith("//"):
        runner.ask(text.removeprefix("/"))
    elif text.startswith("/"):
        if slash_commands.is_command(text) or not runner.interactive:
            return slash_commands.perform(runner, text)
        _offer_as_text(runner, text)
    elif runner.interactive and (word := WORDS.get(text.strip().lower())):
        if runner.asked(word[1], YES_NO) == "yes":
            return slash_commands.perform(runner, f"/{word[0]}")
        runner.ask(text)
    else:
        runner.ask(text)
    return True


def _offer_as_text(runner: TurnRunner, text: str) -> None:
    """A line that begins with / but is not a command, such as a path: send it, or leave it to be corrected."""
    name, close = slash_commands.unknown(text)
    if runner.asked(f"There is no command {name}{close or '.'} Send the line to the model as text?", YES_NO) == "yes":
        runner.ask(text)
    else:
        runner.default = text


def _context_meter(runner: TurnRunner) -> str:
    """How full the context is, as shown at the right of the prompt."""
    used, n_ctx = runner.used(), runner.chat.session.n_ctx
    return f"context {100 * used // n_ctx}% of {n_ctx}"
