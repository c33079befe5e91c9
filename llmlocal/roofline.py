"""How far from this machine's limits a model runs: memory over decode, multiply-adds over prefill. Prints nothing.

The model is the roofline of Williams, Waterman and Patterson (2009), with both roofs measured, not looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from .memory import hyper
from .quant.tensor import QTensor

EMBEDDING, OUTPUT, EXPERTS = "token_embd.weight", "output.weight", "_exps."
AT_THE_ROOF, NEAR = 0.8, 0.5  # shares of memory's speed


@dataclass(frozen=True, slots=True)
class Work:
    """What one token takes: bytes of weights that decode reads, multiply-adds of prefill (attention left out)."""

    nbytes: float
    multiply_adds: float
    floats: bool  # most of the products are of float32, not of bytes


def work(tensors: Mapping[str, QTensor], metadata: Mapping[str, Any]) -> Work:
    """Of an embedding that is not the output too, one row; of experts, those that a token chooses."""
    chosen = (hyper(metadata, "expert_used_count") or 1) / (hyper(metadata, "expert_count") or 1)
    share = {name: min(chosen, 1.0) if EXPERTS in name else 1.0 for name in tensors}
    if OUTPUT in tensors and EMBEDDING in tensors:
        share[EMBEDDING] = 1 / tensors[EMBEDDING].rows
    # The logits of a prompt are wanted of its last token only.
    inner = [t for name, t in tensors.items() if name not in (EMBEDDING, OUTPUT) and len(t.shape) > 1]
    counts = {t.name: share[t.name] * t.rows * t.k for t in inner}
    floats = sum(counts[t.name] for t in inner if t.format.activations != "q8")
    total = sum(counts.values())
    return Work(sum(share[name] * t.nbytes for name, t in tensors.items()), total, floats > total / 2)


@cache
def read_bandwidth(n_threads: int) -> float:
    """Bytes a second that `n_threads` read from memory: a sum over 1 GiB, best of 5."""
    from .ops.bandwidth import read_bandwidth as measured

    return measured(n_threads)


@cache
def multiply_peak(n_threads: int, floats: bool) -> float:
    """Multiply-adds a second of `n_threads`, of bytes or of float32, in registers and the L1 cache."""
    from .ops.multiply_peak import multiply_peak as measured

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
