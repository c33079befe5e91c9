"""Files on their way to a name: what they are called, who still writes them, and which were left by a crash."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

if sys.platform != "win32":
    import fcntl

_NAME = re.compile(r"\.llmlocal-[0-9a-f]{16}\.part")
STEP = 64 << 20  # bytes after which the system is asked to write
_START_WRITING = 2  # SYNC_FILE_RANGE_WRITE


def name_beside(path: Path) -> Path:
    """A name in the same folder that nobody has."""
    return path.with_name(f".llmlocal-{os.urandom(8).hex()}.part")


def hold(file: IO[Any]) -> None:
    """Say that this file is being written, for as long as it is open. Where that cannot be said, nobody sweeps."""
    if sys.platform != "win32":
        with suppress(OSError):
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def sweep(folder: Path) -> None:
    """Remove what writers that were killed have left in `folder`: files of our names that nobody holds."""
    with suppress(OSError):
        for path in folder.iterdir():
            if _NAME.fullmatch(path.name):
                with suppress(OSError):
                    _remove_unheld(path)


def _remove_unheld(path: Path) -> None:
    if sys.platform == "win32":
        path.unlink()  # the system refuses while it is open
        return
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(handle)


def write_behind(file: IO[Any], behind: int) -> int:
    """Let the disk begin with what lies from byte `behind` on, so that little is left for the end.

    Returns the byte from which to go on.
    """
    end = file.tell()
    if end - behind < STEP or _sync_file_range() is None:
        return behind
    file.flush()
    _sync_file_range()(file.fileno(), behind, end - behind, _START_WRITING)
    return end


@cache
def _sync_file_range() -> Any:
    """Linux's function of that name; None where there is none."""
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function
