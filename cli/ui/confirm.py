"""Asking before something is lost. A script must say -y."""

from __future__ import annotations

import sys

from ...errors import UsageError
from . import terminal


def ensure(question: str, yes: bool) -> None:
    """Returns where it is wanted. Raises UsageError where nobody can be asked, or the answer is no."""
    if yes:
        return
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise UsageError("this removes files, and nobody is here to be asked", "-y does it")
    if not terminal.confirm(question):
        raise UsageError("nothing was removed")
