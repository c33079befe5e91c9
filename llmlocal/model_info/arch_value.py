"""Hyperparameters in a file's metadata, for what is said of files that may be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..gguf import Array


def stored(metadata: Mapping[str, Any], name: str) -> Any:
    """The unchecked value at `<architecture>.<name>`, None where it is missing."""
    return metadata.get(f"{metadata.get('general.architecture')}.{name}")


def arch_value(metadata: Mapping[str, Any], name: str) -> int | None:
    """The integer at `<architecture>.<name>`, the largest of an array per layer; None where missing or invalid."""
    value = stored(metadata, name)
    if isinstance(value, Array):
        value = max((n for n in value if isinstance(n, int)), default=None)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
