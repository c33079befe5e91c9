"""Files of models, told from the other files that GGUF has: adapters, importance matrices, readers of images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..errors import UsageError
from ..text import escaped
from .reader import GGUFFile, open_gguf

KEY, ADAPTER = "general.type", "adapter"
# What `general.type` names besides models, and what to do with such a file.
OTHERS = {
    ADAPTER: ("an adapter", "give its model as MODEL, and this file to --lora"),
    "imatrix": ("an importance matrix", "use it with llmlocal quantize MODEL TYPE --imatrix FILE"),
    "mmproj": ("the part of a model that reads images", "give the model itself, which reads texts"),
}


def open_model(path: str | os.PathLike[str]) -> GGUFFile:
    """Open the GGUF file of a model. Raises as `open_gguf`, and as `check_is_model`."""
    gguf = open_gguf(path)
    try:
        check_is_model(gguf.metadata, gguf.path)
    except BaseException:
        gguf.close()
        raise
    return gguf


def check_is_model(metadata: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Raises UsageError for a file that says that it holds something else."""
    if other := other_kind(metadata):
        raise UsageError(f"{escaped(str(path))}: is {other[0]}, not a model", other[1])


def other_kind(metadata: Mapping[str, Any]) -> tuple[str, str] | None:
    """What a file says that it is instead of a model, and what to do with it; None for a model."""
    said = metadata.get(KEY)
    return OTHERS.get(said) if isinstance(said, str) else None


def is_adapter(gguf: GGUFFile) -> bool:
    """Whether a file is an adapter, of whatever kind, instead of a model."""
    return bool(gguf.metadata.get(KEY) == ADAPTER)
