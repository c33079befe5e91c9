"""Address space that a library will take, asked for before: some end the process themselves where they get none."""

from __future__ import annotations

import sys


def require(nbytes: int) -> None:
    """Map as many bytes, and let them go: limits of every kind count. Raises MemoryError where they cannot be had."""
    if sys.platform == "win32":
        return
    import mmap

    try:
        mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as error:
        raise MemoryError from error
