"""The marker of folders that llmlocal made to be thrown away. Only what carries it is ever removed.

The marker is a CACHEDIR.TAG (https://bford.info/cachedir/), which also keeps backups out, with a line that is ours.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

NAME = "CACHEDIR.TAG"
CONTENT = b"""Signature: 8a477f597d28d172789f06886806bc55
# This folder was made by llmlocal and can be deleted at any time.
"""


def tag(folder: Path) -> None:
    """Mark a folder. Raises OSError."""
    if not is_tagged(folder):
        (folder / NAME).write_bytes(CONTENT)


def is_tagged(folder: Path) -> bool:
    """Whether this is a folder, not a link to one, that carries the marker."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with suppress(OSError):
        if stat.S_ISDIR(folder.lstat().st_mode):
            with os.fdopen(os.open(folder / NAME, flags), "rb") as file:
                return file.read(len(CONTENT) + 1) == CONTENT
    return False


def remove_tagged(folder: Path) -> None:
    """Remove a marked folder and the files in it, links as links. Folders below it, which we never make, stay.

    Does nothing where the folder does not carry the marker. Raises OSError.
    """
    if not is_tagged(folder):
        return
    inside = [path for path in folder.iterdir() if path.name != NAME]
    for path in inside:
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
    if not any(path.is_dir() and not path.is_symlink() for path in inside):
        (folder / NAME).unlink(missing_ok=True)
        folder.rmdir()
