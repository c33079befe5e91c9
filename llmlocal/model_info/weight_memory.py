"""Where weights are kept: mapped from the file, or copied into memory, and which of the two a machine has room for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ResourceError
from ..runtime.weight_copy import Shaped, copied_bytes
from ..text import format_bytes
from .machine import free_memory
from .memory import memory

MODES = ("auto", "map", "copy")
WORTHWHILE = 64 << 20  # bytes of matrices below which a copy gains nothing: they stay in the caches of the CPU
COMFORT = 1.25  # times the memory of a run that must be free before weights are copied unasked


def copies_weights(
    mode: str,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, Shaped],
    n_ctx: int,
    kv_type: str = "f16",
    free: int | None = None,
    n_seqs: int = 1,
) -> bool:
    """Whether a run of `n_seqs` sequences of `n_ctx` tokens copies its weights.

    Raises ResourceError where `copy` was asked for and memory does not suffice."""
    nbytes = copied_bytes(tensors.values()) if mode != "map" else 0
    if not nbytes or (mode == "auto" and nbytes < WORTHWHILE):
        return False
    needed = memory(metadata, tensors, n_ctx, kv_type, n_seqs).total
    free = free_memory() if free is None else free
    if mode == "auto":
        return COMFORT * needed <= free
    if needed > free:
        message = f"a copy of the weights takes {format_bytes(needed)} with all else, {format_bytes(free)} is free"
        raise ResourceError(message, "--weights map leaves them in the file")
    return True
