"""Where the prompt comes from: the argument, stdin, or one after the other. Reads stdin only where that was meant."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from threading import Timer

from ..errors import UsageError
from . import ui

PATIENCE = 2.0  # seconds on an open pipe before we say what we wait for


def prompt_source(argument: str | None, *, use_stdin: bool = True) -> Callable[[], bytes]:
    """What will read the prompt, chosen before anything slow is done. Bytes that are not UTF-8 are kept.

    Raises UsageError where there is neither an argument nor a stdin to read.
    """
    text = b"" if argument in (None, "-") else argument.encode("utf-8", "surrogateescape")
    if argument == "-" and not use_stdin:
        raise UsageError("- reads stdin, and --no-stdin forbids it")
    if argument is None and (not use_stdin or sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("no prompt", "give a text, or - to type it on stdin")
    if argument in (None, "-"):
        return _read
    if not use_stdin or not _is_fed():
        return lambda: text
    return lambda: b"\n".join(part for part in (text, _read()) if part)


def _is_fed() -> bool:
    """Whether stdin is a pipe or a file: what somebody chose, not what a script happens to inherit."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _read() -> bytes:
    """All of stdin but the one line feed at its end, as a shell's $(...) does."""
    if sys.stdin is None:
        return b""
    ends = "end with Ctrl-D" if sys.stdin.isatty() else "--no-stdin turns that off"
    timer = Timer(0 if sys.stdin.isatty() else PATIENCE, ui.note, [f"reading the prompt from stdin ({ends})"])
    timer.daemon = True
    timer.start()
    try:
        return sys.stdin.buffer.read().removesuffix(b"\n")
    finally:
        timer.cancel()
