"""Times one kernel on several threads."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from ..quant.jit.kernel import CALL, Kernel
from ..quant.jit.linker import address_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RUNS = 5


def best_seconds(kernel: Kernel, block: NDArray[np.int64], n_threads: int) -> float:
    """Seconds that `n_threads` threads take together for the kernel's arguments `block`: the best of five runs."""
    call, best = CALL(address_of(kernel)), float("inf")
    for _ in range(RUNS):
        block[0] = 0  # the counter from which threads take work
        threads = [threading.Thread(target=call, args=(block.ctypes.data, i, n_threads)) for i in range(1, n_threads)]
        start = time.perf_counter()
        for t in threads:
            t.start()
        call(block.ctypes.data, 0, n_threads)
        for t in threads:
            t.join()
        best = min(best, time.perf_counter() - start)
    return best
