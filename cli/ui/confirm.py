"""Ask before files are removed; a script confirms with -y."""

from __future__ import annotations

import sys

from ...errors import UsageError
from . import terminal


def ensure_confirmed(question: str, yes: bool) -> None:
    """Return if the user agrees. Raises UsageError if nobody can be asked, or the answer is no."""
    if yes:
        return
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise UsageError("this removes files and needs a confirmation", "add -y")
    if not terminal.confirm(question):
        raise UsageError("nothing was removed")
