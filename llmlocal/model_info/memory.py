"""What memory a run takes, from a file's metadata alone. Knows no engine: neither NumPy nor a kernel is needed to ask.

Weights are mapped, so the system may drop and read them again; the cache and the working memory it may not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..gguf import Array
from ..ops.kv import find
from ..ops.kv.kind import padded
from ..tokenizer.vocab import vocabulary_size

BATCH = 512  # tokens that the engine reads in one step
SINGLE = 4  # bytes of a number in the working memory
# Bytes of the interpreter with its libraries, and of a token of the vocabulary: measured.
PROGRAM, TOKEN = 90 << 20, 460


class Sized(Protocol):
    """A tensor that is there, or will be."""

    @property
    def nbytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: the mapped weights, the cache of `n_ctx` tokens when it is full, what a step works in, and the program."""

    n_ctx: int
    weights: int
    cache: int
    scratch: int
    program: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.scratch + self.program


def memory(metadata: Mapping[str, Any], tensors: Mapping[str, Sized], n_ctx: int, kv_type: str = "f16") -> Memory:
    """What a run with a context of `n_ctx` tokens takes. A file that says nothing of itself has no cache.

    Raises UsageError for a `kv_type` that there is not.
    """
    kind = find(kv_type)
    width, inner = arch_value(metadata, "embedding_length") or 0, arch_value(metadata, "feed_forward_length") or 0
    if arch_value(metadata, "expert_count"):
        inner = 0  # experts are counted below
    keys, values = head_sizes(metadata)
    cache = cached_heads(metadata) * padded(n_ctx) * (kind.cell_bytes(keys) + kind.cell_bytes(values))
    activations = 3 * width + 2 * inner + (kv_heads(metadata) or 0) * (keys + values)
    activations += (arch_value(metadata, "expert_used_count") or 0) * expert_activations(metadata)
    scratch = min(BATCH, n_ctx) * (SINGLE * activations + inner) + SINGLE * vocabulary_size(metadata)
    program = PROGRAM + TOKEN * vocabulary_size(metadata)
    return Memory(n_ctx, sum(tensor.nbytes for tensor in tensors.values()), cache, scratch, program)


def arch_value(metadata: Mapping[str, Any], name: str) -> int | None:
    """A hyper-parameter of the file's architecture; of one that differs from layer to layer, the largest."""
    value = metadata.get(f"{metadata.get('general.architecture')}.{name}")
    if isinstance(value, Array):
        value = max((n for n in value if isinstance(n, int)), default=None)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def expert_activations(metadata: Mapping[str, Any]) -> int:
    """Numbers for each token and each expert that it uses: what goes in and comes out, and two inner values."""
    inner = arch_value(metadata, "expert_feed_forward_length") or arch_value(metadata, "feed_forward_length") or 0
    return 2 * (arch_value(metadata, "embedding_length") or 0) + 2 * inner


def head_sizes(metadata: Mapping[str, Any]) -> tuple[int, int]:
    """Numbers in one head's key and in its value."""
    size = (arch_value(metadata, "embedding_length") or 0) // (arch_value(metadata, "attention.head_count") or 1)
    keys, values = arch_value(metadata, "attention.key_length"), arch_value(metadata, "attention.value_length")
    return (size if keys is None else keys), (size if values is None else values)


def kv_heads(metadata: Mapping[str, Any]) -> int | None:
    """Heads of keys and values in a layer; as many as there are of queries, where the file does not say."""
    heads = arch_value(metadata, "attention.head_count_kv")
    return arch_value(metadata, "attention.head_count") if heads is None else heads


def cached_heads(metadata: Mapping[str, Any]) -> int:
    """Heads of keys and values in all layers together."""
    stored = metadata.get(f"{metadata.get('general.architecture')}.attention.head_count_kv")
    if isinstance(stored, Array):
        return sum(n for n in stored if isinstance(n, int) and n > 0)
    return (kv_heads(metadata) or 0) * (arch_value(metadata, "block_count") or 0)
