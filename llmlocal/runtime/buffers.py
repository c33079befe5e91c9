"""Memory for kernels: aligned to cache lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CACHE_LINE = 64


def aligned(nbytes: int) -> NDArray[np.uint8]:
    """Zeroed uint8 (nbytes,) that starts on a cache line. The system provides the pages when they are first written."""
    raw = np.zeros(nbytes + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + nbytes]
