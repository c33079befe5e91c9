"""The user's folders for llmlocal: caches, settings, data. Users without a home, as in some containers, have none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

NO_HOME = "/nonexistent"  # what systems give users without a home: nothing is found there, nothing can be kept there


def user_folder(kind: Literal["cache", "config", "data", "state"]) -> Path:
    """The folder of that kind, by the rules of the system. It need not exist."""
    from platformdirs import PlatformDirs

    try:
        return Path(getattr(PlatformDirs("llmlocal"), f"user_{kind}_path"))
    except RuntimeError:  # neither HOME nor the user database names a home folder
        return Path(NO_HOME, f".{kind}", "llmlocal")


def expanded(path: str) -> Path:
    """`path` with a leading `~` and variables replaced; a `~` without a home is a folder that does not exist."""
    whole = os.path.expanduser(path)
    if whole == path and (path == "~" or path.startswith(("~/", "~\\"))):
        whole = NO_HOME + path[1:]
    return Path(os.path.expandvars(whole))


def ensure_home() -> None:
    """Set HOME where it is missing and the user database names none, for libraries that raise RuntimeError then."""
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = NO_HOME
