"""Where weights are kept: mapped from the file, or copied into memory, and which of the two a machine has room for."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ResourceError
from ..runtime.weight_copy import Shaped, copied_bytes
from ..text import format_bytes

MODES = ("auto", "map", "copy")
WORTHWHILE = 64 << 20  # bytes of matrices below which a copy gains nothing: they stay in the caches of the CPU
COMFORT = 1.25  # times the memory of a run that must be free before weights are copied unasked


def copies_weights(mode: str, tensors: Mapping[str, Shaped], needed: int, free: int) -> bool:
    """Whether a run that takes `needed` bytes of memory copies its weights where `free` bytes are free.

    Raises ResourceError where `copy` was asked for and memory does not suffice."""
    nbytes = copied_bytes(tensors.values()) if mode != "map" else 0
    if not nbytes or (mode == "auto" and nbytes < WORTHWHILE):
        return False
    if mode == "auto":
        return COMFORT * needed <= free
    if needed > free:
        message = f"a copy of the weights takes {format_bytes(needed)} with all else, {format_bytes(free)} is free"
        raise ResourceError(message, "--weights map leaves them in the file")
    return True
