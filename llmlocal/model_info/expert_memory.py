"""Mixtures of experts that are larger than memory: what must be there, and what is read from the disk for each token.

Routing is taken to be uniform: every expert is as likely as any other to be chosen, and to be in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..text import format_bytes
from .arch_value import arch_value
from .memory import Memory, memory
from .work import EXPERTS, chosen_share

if TYPE_CHECKING:
    from ..gguf import GGUFFile
    from ..runtime.weight_copy import Shaped

NEAR = 1.1  # times the memory of a run that must be free for all experts to stay in it
AHEAD = 1 / 8  # of the free memory: the most experts that are prefetched before the first is used


class ExpertMemory(NamedTuple):
    """`nbytes` of all experts, of which a token reads `read`; `room`: bytes of memory that a run leaves them."""

    nbytes: int
    read: int
    room: int

    @property
    def missing(self) -> float:
        """Share (0..1) of the experts that are not in memory when they are chosen."""
        return max(0.0, 1 - self.room / self.nbytes)


def expert_memory(
    metadata: Mapping[str, Any], tensors: Mapping[str, Shaped], needed: int, free: int
) -> ExpertMemory | None:
    """Of a run that needs `needed` bytes with all experts, of which `free` are there. None for a model without."""
    total = sum(tensor.nbytes for name, tensor in tensors.items() if EXPERTS.search(name))
    if not total or not arch_value(metadata, "expert_count"):
        return None
    return ExpertMemory(total, round(chosen_share(metadata) * total), max(0, free - (needed - total)))


def expert_read_rate(gguf: GGUFFile, missing: float) -> float | None:
    """Bytes per second in which the disk gives experts that are chosen together; None where it cannot be measured.

    Only the share `missing` (0..1) of those of a block is asked for at once, as in a run. Of a split model the part
    with the first experts is measured.
    """
    from ..files.read_rate import read_rate

    parts, blocks = [], set()
    for name, tensor in gguf.tensors.items():
        if EXPERTS.search(name):
            path, first = gguf.place_of(tensor)
            count = tensor.shape[0] if len(tensor.shape) > 2 else 1
            each = tensor.nbytes // count
            parts += [(path, first + i * each, each) for i in range(count)]
            blocks.add((path, name.split(".")[1]))
    if not parts:
        return None
    path, own = parts[0][0], [(first, nbytes) for path, first, nbytes in parts if path == parts[0][0]]
    together = missing * chosen_share(gguf.metadata) * len(own) / sum(1 for of, _ in blocks if of == path)
    return read_rate(path, own, max(1, round(together)))


def least_memory(
    metadata: Mapping[str, Any], tensors: Mapping[str, Shaped], n_ctx: int, kv_type: str = "f16", n_seqs: int = 1
) -> Memory:
    """As `memory.memory`, with those experts alone that a token uses: the others may be read when they are chosen."""
    needed, found = memory(metadata, tensors, n_ctx, kv_type, n_seqs), expert_memory(metadata, tensors, 0, 0)
    return replace(needed, weights=needed.weights - (found.nbytes - found.read if found else 0))


class ExpertReads(NamedTuple):
    """How a run reads experts: `prefetch_bytes` of them at most before the first is used, 0 where all stay in memory.

    `note` tells the user that they do not fit, "" where they do.
    """

    prefetch_bytes: int = 0
    note: str = ""


def expert_reads(metadata: Mapping[str, Any], tensors: Mapping[str, Shaped], needed: int, free: int) -> ExpertReads:
    """How a run that takes `needed` bytes of memory reads experts where `free` bytes are free."""
    found = expert_memory(metadata, tensors, needed, free)
    if found is None or NEAR * needed <= free:
        return ExpertReads()
    said = f"{format_bytes(found.nbytes)} of experts do not fit into memory: {found.missing:.0%} are read from the disk"
    note = f"{said} for each token; llmlocal show MODEL --fit says how fast" if found.missing else ""
    return ExpertReads(max(1, int(AHEAD * free)), note)
