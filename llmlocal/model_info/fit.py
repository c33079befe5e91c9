"""Whether a model fits this machine, with which context, and how fast it can be at best. Knows no engine."""

from __future__ import annotations

from dataclasses import dataclass

from ..gguf import GGUFFile
from .machine import free_memory, total_memory
from .memory import Memory, arch_value, memory
from .memory_limit import largest_context
from .work import work

STEP = 256  # contexts are told in multiples of this
LONGEST = 1 << 20  # where the file does not say


@dataclass(frozen=True, slots=True)
class Fit:
    """`need` for the context that was asked for; `largest` context that the machine's memory holds, 0 for none.

    `read_per_token` are the bytes of weights that one token of an answer reads; `bandwidth` bytes per second, None
    where it was not measured.
    """

    need: Memory
    total_memory: int
    free_memory: int
    largest: int
    trained: int | None
    read_per_token: int
    bandwidth: float | None

    @property
    def fits(self) -> bool:
        return self.need.total <= self.total_memory

    @property
    def tokens_per_second(self) -> float | None:
        """At best: the weights can be read no faster."""
        return self.bandwidth / self.read_per_token if self.bandwidth and self.read_per_token else None


def fit(gguf: GGUFFile, n_ctx: int, bandwidth: float | None = None) -> Fit:
    """What there is to say about an open model on this machine."""
    total, trained = total_memory(), arch_value(gguf.metadata, "context_length")
    return Fit(
        need=memory(gguf.metadata, gguf.tensors, n_ctx),
        total_memory=total,
        free_memory=free_memory(),
        largest=largest_context(gguf.metadata, gguf.tensors, trained or LONGEST, total) // STEP * STEP,
        trained=trained,
        read_per_token=round(work(gguf.tensors, gguf.metadata).nbytes),
        bandwidth=bandwidth,
    )
