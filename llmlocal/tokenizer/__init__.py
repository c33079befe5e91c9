"""Tokenizers: text to token ids and back, from the vocabulary in GGUF metadata."""

from __future__ import annotations

from collections.abc import Mapping
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
    kind = metadata.get("tokenizer.ggml.model")
    if not isinstance(kind, str):
        raise BadFileError("tokenizer.ggml.model is missing: the file has no tokenizer")
    if not _load(kind):
        known = ", ".join(sorted(KINDS))
        raise BadFileError(f"tokenizer.ggml.model is {kind[:60]!r}, which is not supported; supported are {known}")
    return KINDS[kind](metadata)


def _load(kind: str) -> bool:
    """Import files of this folder until one has registered `kind`; whether one has."""
    modules = iter_modules(__path__)
    while kind not in KINDS:
        module = next(modules, None)
        if module is None:
            return False
        import_module(f"{__name__}.{module.name}")
    return True
