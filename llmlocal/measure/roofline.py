"""How far from this machine's limits a model runs: memory over decode, multiply-adds over prefill. Prints nothing.

The model is the roofline of Williams, Waterman and Patterson (2009), with both roofs measured, not looked up.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

AT_THE_ROOF, NEAR = 0.8, 0.5  # shares of memory's speed


@cache
def read_bandwidth(n_threads: int) -> float:
    """Bytes a second that `n_threads` read from memory: a sum over 1 GiB, best of 5."""
    from ..ops.bandwidth import read_bandwidth as measured

    return measured(n_threads)


@cache
def multiply_peak(n_threads: int, floats: bool) -> float:
    """Multiply-adds a second of `n_threads`, of bytes or of float32, in registers and the L1 cache."""
    from ..ops.multiply_peak import multiply_peak as measured

    return measured(n_threads, floats=floats)


def decode_limit(test: str, share: float, n_threads: int) -> str:
    """One sentence on what limits decode that reads its weights at `share` of memory's speed."""
    said = f"{test}: weights are read at {share:.0%} of what memory gives {_threads(n_threads)}"
    if share >= AT_THE_ROOF:
        return f"{said}: memory is the limit, and only a smaller quantization or faster memory would help"
    if share >= NEAR:
        return f"{said}: memory limits most of the work"
    return f"{said}: computing limits, and more threads may help"


def prefill_limit(test: str, share: float, n_threads: int, floats: bool) -> str:
    """One sentence on prefill that does `share` of the multiply-adds that there could be."""
    kind = "float32" if floats else "byte"
    return (
        f"{test}: {share:.0%} of the {kind} multiply-adds that {_threads(n_threads)} can do: "
        "the cores are the limit, not memory"
    )


def _threads(n: int) -> str:
    return f"{n} threads" if n > 1 else "1 thread"


def thread_sweep(physical: int, usable: int) -> list[int]:
    """Thread counts worth trying: powers of two, all cores, and all CPUs that this process may use."""
    counts: Iterable[int] = (1 << i for i in range(usable.bit_length()))
    return sorted({n for n in (*counts, physical, usable) if 1 <= n <= usable})
