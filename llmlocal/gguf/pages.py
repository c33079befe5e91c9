"""Returns pages of a memory mapping to the system."""

from __future__ import annotations

import mmap

from .values import padded


def drop_pages(map: mmap.mmap, address: int, nbytes: int) -> None:
    """Drop the whole pages within `nbytes` at `address`, where these lie in `map`; later access reads them again."""
    import numpy as np

    advice = getattr(mmap, "MADV_DONTNEED", None)
    first = address - int(np.frombuffer(map, np.uint8).ctypes.data)
    if advice is None or not 0 <= first < len(map):
        return
    start = padded(first, mmap.PAGESIZE)  # the page before may hold the end of the previous tensor
    end = (first + nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start:
        map.madvise(advice, start, end - start)
