"""Memory of a mapping that was read, given back to the system. Knows no file."""

from __future__ import annotations

import mmap

from .values import padded


def give_back(map: mmap.mmap, address: int, nbytes: int) -> None:
    """Let the whole pages between two addresses go, where they lie in `map`; who looks there again reads them again."""
    import numpy as np

    advice = getattr(mmap, "MADV_DONTNEED", None)
    first = address - int(np.frombuffer(map, np.uint8).ctypes.data)
    if advice is None or not 0 <= first < len(map):
        return
    start = padded(first, mmap.PAGESIZE)  # the page before belongs to the tensor before, too
    end = (first + nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start:
        map.madvise(advice, start, end - start)
