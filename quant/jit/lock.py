"""One process at a time compiles a kernel; others that need it wait, and load what the first has written.

Locks of the system, which it releases when their process ends, however that happens. Children do not inherit them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 60.0  # seconds after which it is compiled all the same: whoever holds the lock may have been stopped
PAUSE = 0.02  # seconds between two looks


@contextlib.contextmanager
def alone(path: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Run the block while no other process does so for `path`, for whose maker a lock file stands beside it.

    Where the file system has no locks, the folder cannot be written or patience ends, the block runs without.
    """
    lock = path.with_suffix(".lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        yield
        return
    held = False
    try:
        held = _wait(handle, time.monotonic() + patience)
        yield
    finally:
        if held:
            with contextlib.suppress(OSError):
                lock.unlink()
        os.close(handle)


def _wait(handle: int, end: float) -> bool:
    """Whether the file is locked now; False where it cannot be, or the holder has it still at `end`."""
    while True:
        try:
            _lock(handle)
            return True
        except (BlockingIOError, PermissionError):  # held by another process
            if time.monotonic() >= end:
                return False
        except OSError:
            return False
        time.sleep(PAUSE)


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
