"""A home folder for processes that have none, as in containers that run under any user id."""

from __future__ import annotations

import os

NO_HOME = "/nonexistent"  # what systems give users without a home: nothing is found there, nothing can be kept there


def ensure() -> None:
    """Set HOME where neither it nor the user database names a home folder; libraries raise RuntimeError there."""
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = NO_HOME
