"""The user's folders for llmlocal: caches, settings, data. Users without a home, as in some containers, have none."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

NO_HOME = "/nonexistent"  # what systems give users without a home: nothing is found there, nothing can be kept there
# By the XDG Base Directory Specification: the variable of the environment, and the folder in the home folder.
XDG = {
    "cache": ("XDG_CACHE_HOME", ".cache"),
    "config": ("XDG_CONFIG_HOME", ".config"),
    "data": ("XDG_DATA_HOME", ".local/share"),
    "state": ("XDG_STATE_HOME", ".local/state"),
}


def user_folder(kind: Literal["cache", "config", "data", "state"]) -> Path:
    """The folder of that kind, by the rules of the system. It need not exist."""
    variable, name = XDG[kind]
    if sys.platform == "linux" and not hasattr(sys, "getandroidapilevel"):  # with no library to load
        named, home = os.environ.get(variable, ""), os.path.expanduser("~")
        if os.path.isabs(named):
            return Path(named, "llmlocal")
        if os.path.isabs(home):
            return Path(home, name, "llmlocal")
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
