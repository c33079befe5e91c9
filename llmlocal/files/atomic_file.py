"""A file that is there whole or not at all: written under another name, flushed to the disk, then renamed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import LlmlocalError, NotFoundError, ResourceError, UsageError
from ..text import escaped
from .temporary import hold, name_beside, sweep

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_absent(path: Path) -> None:
    """Raises UsageError where `path` is a file already: asked before long work, so that none is lost."""
    if path.is_file() or path.is_dir():
        hint = "--force writes over it" if path.is_file() else "name a file"
        raise UsageError(f"{escaped(str(path))} exists", hint)


@contextmanager
def atomic_file(path: Path, *, force: bool = False) -> Iterator[BinaryIO]:
    """What is written appears as `path` when the block ends; when an exception ends it, `path` is as it was.

    Devices and pipes are written to directly. Raises UsageError where the file exists, unless `force`; ResourceError
    where the disk refuses, NotFoundError where there is no such folder.
    """
    if not force:
        check_absent(path)
    target = path.resolve()  # a link stays a link
    direct = target.exists() and not target.is_file()
    temporary = target if direct else name_beside(target)
    try:
        if not direct:
            sweep(target.parent)
        with open(temporary, "wb" if direct else "xb") as file:
            if not direct:
                hold(file)
            yield file
            file.flush()
            if not direct:
                os.fsync(file.fileno())
        if not direct:
            os.replace(temporary, target)
            _sync_folder(target.parent)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        if not direct:
            with suppress(OSError):
                temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Let the new name survive a power cut, too."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _explained(error: OSError, path: Path) -> LlmlocalError:
    where = escaped(str(path))
    if error.errno in FULL:
        return ResourceError(f"{where}: the disk is full", "free some space")
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"{where}: no such folder")
    return ResourceError(f"{where}: cannot be written: {error.strerror}")
