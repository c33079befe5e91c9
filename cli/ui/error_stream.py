"""Writes to stderr. What is said about an answer must not cost the answer: a stderr that takes nothing is given up."""

from __future__ import annotations

import contextlib
import os
import sys


def write(text: str) -> None:
    """Write `text` to stderr at once. Where stderr is closed, full or gone, this text and all later ones are lost."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        # What is still buffered goes nowhere, too: Python flushes again as it ends, and would exit with 120.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
