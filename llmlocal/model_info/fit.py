"""Whether a model fits this machine, the largest context, and how fast it can be."""

from __future__ import annotations

from dataclasses import dataclass

from ..gguf import GGUFFile
from .arch_value import arch_value
from .expert_memory import expert_memory, expert_read_rate, least_memory
from .machine import free_memory, total_memory
from .memory import Memory, memory
from .memory_limit import largest_context
from .work import work

STEP = 256  # contexts are rounded down to a multiple of this
EXCHANGED = 1.8e9  # bytes per second of missing experts for which others are evicted, and that are mapped (measured)
LONGEST = 1 << 20  # the limit where the file does not state a trained context


@dataclass(frozen=True, slots=True)
class Fit:
    """`need` for the requested context; `largest` context in tokens that fits the machine's memory, 0 for none.

    Memory is in bytes. `read_per_token`: bytes of weights that decoding one token reads; `bandwidth`: memory bandwidth
    in bytes per second, None where it was not measured. `fits_in_part`: whether a mixture of experts can be run of
    which not all fit into the free memory; `disk_per_token`: bytes of experts that a token uses and that are missing;
    `disk_rate`: bytes per second in which the disk gives them, None where it was not measured.
    """

    need: Memory
    total_memory: int
    free_memory: int
    largest: int
    trained: int | None
    read_per_token: int
    bandwidth: float | None
    fits_in_part: bool = False
    disk_per_token: int = 0
    disk_rate: float | None = None

    @property
    def fits(self) -> bool:
        return self.need.total <= self.total_memory

    @property
    def tokens_per_second(self) -> float | None:
        """Upper bound of decode speed, memory bandwidth over bytes read per token, where no experts come from the disk.

        Where they do, their time is added, and this is what to expect; None without a rate of the disk.
        """
        if not self.bandwidth or not self.read_per_token or (self.disk_per_token and not self.disk_rate):
            return None
        if not self.disk_rate:
            return self.bandwidth / self.read_per_token
        missing = self.disk_per_token
        return 1 / (self.read_per_token / self.bandwidth + missing / self.disk_rate + missing / EXCHANGED)


def fit(gguf: GGUFFile, n_ctx: int, bandwidth: float | None = None) -> Fit:
    """Compare the memory that an open model needs for `n_ctx` tokens with this machine's.

    For a mixture of experts larger than the free memory the disk is measured, which takes some seconds.
    """
    total, trained = total_memory(), arch_value(gguf.metadata, "context_length")
    need, free = memory(gguf.metadata, gguf.tensors, n_ctx), free_memory()
    experts = expert_memory(gguf.metadata, gguf.tensors, need.total, free)
    missing = experts.missing if experts else 0.0
    from_disk = round(missing * experts.read) if experts else 0
    least = least_memory(gguf.metadata, gguf.tensors, n_ctx).total
    return Fit(
        need=need,
        total_memory=total,
        free_memory=free,
        largest=largest_context(gguf.metadata, gguf.tensors, trained or LONGEST, total) // STEP * STEP,
        trained=trained,
        read_per_token=round(work(gguf.tensors, gguf.metadata).nbytes),
        bandwidth=bandwidth,
        fits_in_part=from_disk > 0 and least <= free,
        disk_per_token=from_disk,
        disk_rate=expert_read_rate(gguf, missing) if from_disk else None,
    )
