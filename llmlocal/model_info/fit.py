"""Whether a model fits this machine, the largest context, and an upper bound of its speed."""

from __future__ import annotations

from dataclasses import dataclass

from ..gguf import GGUFFile
from .arch_value import arch_value
from .machine import free_memory, total_memory
from .memory import Memory, memory
from .memory_limit import largest_context
from .work import work

STEP = 256  # contexts are rounded down to a multiple of this
LONGEST = 1 << 20  # the limit where the file does not state a trained context


@dataclass(frozen=True, slots=True)
class Fit:
    """`need` for the requested context; `largest` context in tokens that fits the machine's memory, 0 for none.

    Memory is in bytes. `read_per_token`: bytes of weights that decoding one token reads; `bandwidth`: memory bandwidth
    in bytes per second, None where it was not measured.
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
        """Upper bound of decode speed: memory bandwidth over bytes read per token."""
        return self.bandwidth / self.read_per_token if self.bandwidth and self.read_per_token else None


def fit(gguf: GGUFFile, n_ctx: int, bandwidth: float | None = None) -> Fit:
    """Compare the memory that an open model needs for `n_ctx` tokens with this machine's."""
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
