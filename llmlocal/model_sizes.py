"""Sizes that a file states of a model, for those who run it: its vocabulary and its context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from .errors import BadFileError
from .gguf.reader import GGUFFile
from .gguf.values import scalar
from .layers.weights import NamedTensors
from .tokenizer.vocab import vocabulary_size

DEFAULT_CONTEXT = 4096


class Described(NamedTensors, Protocol):
    """An open GGUF file, or one that is planned."""

    @property
    def metadata(self) -> Mapping[str, Any]: ...


def logits_size(gguf: Described) -> int:
    """Tokens of the file's vocabulary; of the embedding where it brings none. Raises BadFileError."""
    table = gguf.tensors.get("token_embd.weight")
    size = vocabulary_size(gguf.metadata) or (table.rows if table is not None else 0)
    if not size:
        raise BadFileError(
            f"{gguf.path}: neither a vocabulary nor 'token_embd.weight'", "the file holds no language model"
        )
    return size


def trained_context(gguf: GGUFFile) -> int:
    """The context that the model was trained for in tokens, or DEFAULT_CONTEXT if the file does not say."""
    value = _stored(gguf, "context_length")
    return value if isinstance(value, int) and 0 < value < 1 << 31 else DEFAULT_CONTEXT


def default_context(gguf: GGUFFile) -> int:
    """The context where none is asked for: the trained one, DEFAULT_CONTEXT at most.

    Where an encoder reads the prompt, it holds a prompt and an answer of the length that each was trained for.
    """
    parts = 1 if _stored(gguf, "decoder_start_token_id") is None else 2
    return min(parts * trained_context(gguf), DEFAULT_CONTEXT)


def _stored(gguf: GGUFFile, name: str) -> Any:
    """The unchecked value of a hyperparameter, None where it is missing or an array of different numbers."""
    try:
        return scalar(gguf.metadata.get(f"{gguf.metadata.get('general.architecture')}.{name}"))
    except ValueError:
        return None
