"""Standard streams that were closed before the program began."""

from __future__ import annotations

import os


def fill() -> None:
    """Open the null device where stdin, stdout or stderr is closed.

    Otherwise the next file that is opened, such as a session, becomes that stream, and gets what libraries print.
    Python's own streams stay None.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
