"""The system's cache of file contents, after a large file was written."""

from __future__ import annotations

import os

from ..quant.machine import machine_memory


def give_back(handle: int) -> None:
    """Drop a file that is on the disk from the cache if it takes over half of the available memory.

    What has just been written is cached in small pieces, and a model of that size is mapped, not copied: read again, it
    comes in large pieces, which map faster. A smaller one is copied, and found in the cache.
    """
    if hasattr(os, "posix_fadvise") and 2 * os.fstat(handle).st_size > machine_memory().available:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
