"""Keys that are pressed while nothing reads them: kept unseen for the next line, or forgotten before a question."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def discard() -> None:
    """Drop what was typed and not yet read. Call it when the question stands on the screen, before reading."""
    if sys.stdin is None or not sys.stdin.isatty():
        return
    if "prompt_toolkit" in sys.modules:  # the line editor keeps the keys that its last prompt did not use
        from prompt_toolkit.application import get_app_session
        from prompt_toolkit.input.typeahead import clear_typeahead

        clear_typeahead(get_app_session().input)
    if sys.platform == "win32":
        import msvcrt

        while msvcrt.kbhit():
            msvcrt.getwch()
        return
    import termios

    with suppress(termios.error):
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


@contextmanager
def terminal_kept() -> Iterator[None]:
    """Whatever happens within, the terminal's settings are afterwards what they were before."""
    if sys.stdin is None or not sys.stdin.isatty():
        yield
        return
    try:
        import termios
    except ImportError:  # not a POSIX system
        yield
        return
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(handle, termios.TCSADRAIN, before)


@contextmanager
def no_echo(*, lines: bool) -> Iterator[None]:
    """Keys that are pressed within are kept for later and not shown, so that they do not mix with an answer.

    `lines`: they are read as lines later, not key by key.
    """
    with terminal_kept():
        if sys.stdin is not None and sys.stdin.isatty():
            with suppress(ImportError):
                import termios

                handle = sys.stdin.fileno()
                modes = termios.tcgetattr(handle)
                modes[3] &= ~termios.ECHO
                if not lines:
                    modes[3] &= ~termios.ICANON
                    modes[0] &= ~termios.ICRNL  # Enter stays Enter, and does not become Ctrl-J
                termios.tcsetattr(handle, termios.TCSADRAIN, modes)
        yield
