"""Types of the KV cache, found by name, and the kernels that write and read them."""

from __future__ import annotations

from ...errors import UsageError
from .kv_type import KV_TYPES, KVType


def find(name: str) -> KVType:
    """The cache type called `name`. Raises UsageError for an unknown one."""
    from . import float, q8  # noqa: F401  (they register themselves)

    if name not in KV_TYPES:
        raise UsageError(f"unknown KV cache type '{name}'", f"use one of: {', '.join(sorted(KV_TYPES))}")
    return KV_TYPES[name]
