"""Forgets the keys that were pressed before a question was asked, so that they do not answer it."""

from __future__ import annotations

import sys
from contextlib import suppress


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
