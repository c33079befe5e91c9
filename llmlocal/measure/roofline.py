"""The roofline of this machine: memory bandwidth for decode, multiply-adds for prefill.

After Williams, Waterman and Patterson (2009), with both limits measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from ..model_info.machine import free_memory
from ..ops.multiply_peak import Numbers

AT_THE_ROOF, NEAR = 0.8, 0.5  # shares of memory bandwidth


@cache
def read_bandwidth(n_threads: int) -> float:
    """Memory bandwidth of `n_threads` in bytes/s: a sum over 1 GiB, or a quarter of the free memory; best of 5."""
    from ..ops.bandwidth import read_bandwidth as measured

    return measured(n_threads, free_memory())


@cache
def multiply_peak(n_threads: int, numbers: Numbers) -> float:
    """Peak multiply-adds/s of `n_threads` of such numbers, in registers and the L1 cache."""
    from ..ops.multiply_peak import multiply_peak as measured

    return measured(n_threads, numbers)


def decode_limit(test: str, share: float, n_threads: int) -> str:
    """One sentence on the bottleneck of decode that reads weights at `share` (0..1) of the memory bandwidth."""
    said = f"{test}: weights are read at {share:.0%} of the memory bandwidth of {_threads(n_threads)}"
    if share >= AT_THE_ROOF:
        return f"{said}: memory-bound, only a smaller quantization or faster memory would help"
    if share >= NEAR:
        return f"{said}: mostly memory-bound"
    return f"{said}: compute-bound, more threads may help"


def prefill_limit(test: str, share: float, n_threads: int, numbers: Numbers) -> str:
    """One sentence on the bottleneck of prefill that reaches `share` (0..1) of the peak multiply-adds."""
    return f"{test}: {share:.0%} of the peak {numbers} multiply-adds of {_threads(n_threads)}: compute-bound"


def _threads(n: int) -> str:
    return f"{n} threads" if n > 1 else "1 thread"


def thread_sweep(physical: int, usable: int) -> list[int]:
    """Thread counts for a sweep: powers of two, all physical cores, and all CPUs that this process may use."""
    counts: Iterable[int] = (1 << i for i in range(usable.bit_length()))
    return sorted({n for n in (*counts, physical, usable) if 1 <= n <= usable})
