"""Memory for kernels, aligned to cache lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..gguf.pages import private_memory

CACHE_LINE = 64


def aligned(nbytes: int) -> NDArray[np.uint8]:
    """Zeroed uint8 (nbytes,) that starts on a cache line. The system provides the pages when they are first written."""
    raw = np.zeros(nbytes + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + nbytes]


def reserved(nbytes: int) -> NDArray[np.uint8]:
    """As `aligned`, for memory of which only parts may ever be written, here and there. Raises MemoryError.

    NumPy asks for large pages, which would make all of it resident soon.
    """
    try:
        return np.frombuffer(private_memory(max(nbytes, 1), large=False), np.uint8)[:nbytes]
    except OSError as error:
        raise MemoryError(f"no room for {nbytes} bytes") from error


def large_pages(nbytes: int) -> NDArray[np.uint8]:
    """As `aligned`, in large pages where the system has them."""
    return np.frombuffer(private_memory(max(nbytes, 1)), np.uint8)[:nbytes]
