"""A chat from its first line to its last: reads a line, does what it says. Knows no line editor and no colours."""

from __future__ import annotations

from ...errors import LlmlocalError
from ..ui import terminal
from ..ui.keyboard import no_echo, terminal_kept
from . import slash_commands
from .turns import Talk

INTERRUPTED = 130


def chat_loop(talk: Talk) -> int:
    """Talk until the user leaves; the exit code."""
    pressed = False
    keys = terminal_kept() if talk.keyboard.lines else no_echo(lines=False)
    with keys, talk.interrupts:
        while True:
            try:
                with talk.interrupts.reading():
                    text = talk.keyboard.read(_meter(talk), talk.default)
            except KeyboardInterrupt:
                if pressed or not talk.person:
                    return INTERRUPTED
                pressed = True
                talk.screen.aside("Ctrl-C again or Ctrl-D leaves")
                continue
            pressed, talk.default = False, ""
            if text is None:
                return 0
            try:
                if not _handle(talk, text):
                    return 0
            except KeyboardInterrupt:
                return INTERRUPTED
            except LlmlocalError as error:
                if not talk.person:
                    raise  # a script hears of it by the exit code
                terminal.report(error, None)


def _handle(talk: Talk, text: str) -> bool:
    """Do what a line says; whether the chat goes on."""
    if not text.strip():
        return True
    if text.startswith("/") and not text.startswith("//"):
        return slash_commands.perform(talk, text)
    talk.ask(text.removeprefix("/") if text.startswith("//") else text)
    return True


def _meter(talk: Talk) -> str:
    """How full the context is, for the corner."""
    session = talk.dialogue.session
    return f"{session.used}/{session.n_ctx} {100 * session.used // session.n_ctx}%"
