"""Types of the KV cache: one file each, found by name. Knows no layer and no sequence."""

from __future__ import annotations

from ...errors import UsageError
from .kind import KINDS, Kind


def find(name: str) -> Kind:
    """The cache type called `name`. Raises UsageError."""
    from . import float, q8  # noqa: F401  (they register themselves)

    if name not in KINDS:
        raise UsageError(f"unknown KV cache type '{name}'", f"use one of: {', '.join(sorted(KINDS))}")
    return KINDS[name]
