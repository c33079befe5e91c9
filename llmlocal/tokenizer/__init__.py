"""Tokenizers: text to token ids and back, from the vocabulary in GGUF metadata."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from ..errors import BadFileError
from .base import KINDS, Tokenizer
from .stream import StreamDecoder
from .vocab import Conventions, Vocab

__all__ = ["Conventions", "StreamDecoder", "Tokenizer", "Vocab", "load"]


def load(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that GGUF metadata describes; arrays are lists or have `tolist()`.

    Raises BadFileError for a damaged vocabulary or an unsupported kind of tokenizer.
    """
    _load_all()
    kind = metadata.get("tokenizer.ggml.model")
    if not isinstance(kind, str):
        raise BadFileError("tokenizer.ggml.model is missing: the file has no tokenizer")
    if kind not in KINDS:
        known = ", ".join(sorted(KINDS))
        raise BadFileError(f"tokenizer.ggml.model is {kind[:60]!r}, which is not supported; supported are {known}")
    return KINDS[kind](metadata)


@cache
def _load_all() -> None:
    """Import every file of this folder, so that the registry is complete."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
