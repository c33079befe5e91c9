"""Measures memory bandwidth, which limits decoding."""

from __future__ import annotations

from typing import Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet
from .timing import best_seconds

SIZE, LEAST, CHUNK = 1 << 30, 1 << 27, 1 << 20


@kernel("data size sums")
def read_sum(v: InstructionSet) -> Any:
    """sums (nth, 8) int32: sums by lane of `data`, int32, `size` bytes, a multiple of CHUNK."""
    add = v.map_parts(4, lambda j: lambda sums, p: sums[j] + v.load(v.i32x8, p + 32 * j))

    def run(counter, ith, nth, data, size, sums):
        zero = v.zero(v.i32x8)
        parts = (zero, zero, zero, zero)
        at = v.take_work(counter, CHUNK)
        while at < size:
            for i in range(at, at + CHUNK, 128):
                parts = add(parts, data + i)
            at = v.take_work(counter, CHUNK)
        v.store(sums + 64 * ith, (parts[0] + parts[1]) + (parts[2] + parts[3]))

    return run


def read_bandwidth(n_threads: int, free: int) -> float:
    """Bytes per second that `n_threads` threads read together: the sum of `bytes_to_read(free)`, best of five runs."""
    import numpy as np

    size = bytes_to_read(free)
    data, sums = np.ones(size // 4, np.int32), np.zeros((n_threads, 16), np.int32)
    block = np.array(read_sum.block(data=data.ctypes.data, size=size, sums=sums.ctypes.data), np.int64)
    return size / best_seconds(read_sum, block, n_threads)


def bytes_to_read(free: int) -> int:
    """1 GiB, or a quarter of `free` bytes of memory where that is less, down to 128 MiB: whole chunks.

    A container whose memory is limited kills a program that takes more.
    """
    return min(SIZE, max(LEAST, free // 4)) // CHUNK * CHUNK
