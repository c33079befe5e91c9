"""Temporary files: their names, locks that show which are being written, removal of those a crash left behind."""

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
    """An unused name in the same folder."""
    return path.with_name(f".llmlocal-{os.urandom(8).hex()}.part")


def is_temporary(path: Path) -> bool:
    """Whether a file has a name that `name_beside` gives."""
    return _NAME.fullmatch(path.name) is not None


def hold(file: IO[Any], path: Path) -> bool:
    """Lock the new file at `path` while it is open, so that `sweep` leaves it alone.

    False where the `sweep` of another process has removed it between its creation and the lock.
    """
    if sys.platform != "win32":
        with suppress(OSError):
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)  # a sweep that is looking at it holds it for a moment
    return path.exists()


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed writers left in `folder`: those that are not locked."""
    with suppress(OSError):
        for path in folder.iterdir():
            if is_temporary(path):
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
    """Start writing the bytes from `behind` on to the disk, so that the final fsync is short.

    Returns the `behind` of the next call.
    """
    end = file.tell()
    if end - behind < STEP or _sync_file_range() is None:
        return behind
    file.flush()
    _sync_file_range()(file.fileno(), behind, end - behind, _START_WRITING)
    return end


@cache
def _sync_file_range() -> Any:
    """Linux's `sync_file_range`, None on other systems."""
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function
