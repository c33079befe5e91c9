"""Disk errors as one clear line, and folders flushed to the disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..errors import LlmlocalError, NotFoundError, ResourceError
from ..text import escaped

FULL = (errno.ENOSPC, errno.EDQUOT)


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk, so that a file's new name survives a power cut."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def disk_error(error: OSError, path: Path, needed: int | None = None) -> LlmlocalError:
    """The error to raise where writing `path` failed with `error`; `needed` bytes are what the file takes."""
    where = escaped(str(path))
    if error.errno in FULL:
        return ResourceError(f"{where}: the disk is full", f"free {needed} bytes" if needed else "free some space")
    if error.errno == errno.EFBIG:
        return ResourceError(f"{where}: the file is larger than is allowed", "see ulimit -f, or use another disk")
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"{where}: no such folder", "create the folder first")
    return ResourceError(f"{where}: cannot be written: {error.strerror}")


def check_folder(path: Path) -> None:
    """Raises NotFoundError where the folder of a file to be written does not exist. Call it before long work."""
    if not path.parent.is_dir():
        raise disk_error(FileNotFoundError(), path)
