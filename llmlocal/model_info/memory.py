"""Estimates the memory of a run from a file's metadata alone, without NumPy or kernels.

Weights are memory-mapped, so the system may drop and reread them; the KV cache and the activations must stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ..gguf import Array
from ..models import numbers
from ..ops.kv import find
from ..ops.kv.kv_type import padded
from ..quant.jit import elf
from ..quant.kernels.matmul import SCRATCH_BYTES
from ..quant.kernels.q8_activations import q8_bytes
from ..runtime.checkpoints import window_capacity
from ..runtime.windows import UBATCH, checkpoint_cells, ring_cells, sliding_blocks
from ..tokenizer.vocab import vocabulary_size
from .arch_value import arch_value, stored
from .recurrent_memory import attention_blocks, mixed_values, run_blocks, state_memory

MAX_LAYERS = 1 << 16  # of what a file says
SINGLE = 4  # bytes of a float32 activation
# Measured bytes: the interpreter with its libraries, LLVM where that loads the kernels, each token of the vocabulary.
PROGRAM, LLVM, TOKEN = 40 << 20, 50 << 20, 460


class Sized(Protocol):
    """Anything with a size in bytes: a tensor in a file, or one that is planned."""

    @property
    def nbytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of the mapped weights, the KV cache of `n_ctx` tokens, buffers (`scratch`) and the program itself.

    Buffers are the activations, and copies of weights that attention needs in another layout.

    `states`: recurrent states with their checkpoints, 0 for most models; `windows`: checkpoints of sliding windows at
    most, which are made as a text grows.
    """

    n_ctx: int
    weights: int
    cache: int
    scratch: int
    program: int
    states: int = 0
    windows: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.states + self.windows + self.scratch + self.program


class CachedLayer(NamedTuple):
    """KV heads, key size and value size of a layer, and whether its attention has a sliding window."""

    heads: int
    keys: int
    values: int
    slides: bool = False


def memory(
    metadata: Mapping[str, Any], tensors: Mapping[str, Sized], n_ctx: int, kv_type: str = "f16", n_seqs: int = 1
) -> Memory:
    """Estimate the memory of a run of `n_seqs` sequences of `n_ctx` tokens; missing metadata counts as 0.

    Raises UsageError for an unknown `kv_type`.
    """
    kind, batch = find(kv_type), min(UBATCH, n_ctx * n_seqs)
    full, sliding = (
        sum(n * (kind.cell_bytes(k) + kind.cell_bytes(v)) for n, k, v, slides in cached_layers(metadata) if slides is s)
        for s in (False, True)
    )
    window = sliding_window(metadata)
    ring = ring_cells(window, n_ctx, batch)
    checkpoint = sliding * checkpoint_cells(window, ring, n_ctx)
    checkpoints = n_seqs * window_capacity(checkpoint, n_seqs) * checkpoint
    cache = n_seqs * (padded(n_ctx) * full + ring * sliding)
    scratch = SCRATCH_BYTES + batch * activation_bytes(metadata) + SINGLE * vocabulary_size(metadata)
    if kind.q8_queries:
        scratch += batch * q8_bytes((arch_value(metadata, "attention.head_count") or 0) * head_sizes(metadata)[0])
    weights = sum(tensor.nbytes for tensor in tensors.values())
    scratch += copied_keys(metadata, tensors)
    program, states = program_memory(metadata), state_memory(metadata, n_seqs)
    return Memory(n_ctx, weights, cache, scratch, program, states, checkpoints)


def program_memory(metadata: Mapping[str, Any]) -> int:
    """Bytes of the program itself and of the vocabulary."""
    return PROGRAM + (0 if elf.supported() else LLVM) + TOKEN * vocabulary_size(metadata)


def activation_bytes(metadata: Mapping[str, Any]) -> int:
    """Bytes of a token's activations."""
    width, inner = arch_value(metadata, "embedding_length") or 0, arch_value(metadata, "feed_forward_length") or 0
    if arch_value(metadata, "expert_count"):
        inner = 0  # experts are counted below
    keys, values = head_sizes(metadata)
    activations = 3 * width + max(2 * inner, mixed_values(metadata)) + (kv_heads(metadata) or 0) * (keys + values)
    activations += (arch_value(metadata, "expert_used_count") or 0) * expert_activations(metadata)
    return SINGLE * activations + inner


def copied_keys(metadata: Mapping[str, Any], tensors: Mapping[str, Sized]) -> int:
    """Bytes of the matrices of keys that latent attention copies from tensors attn_kv_b.

    2 for each number of quantized tensors; 4 for others (for F16 twice what it takes).
    """
    heads, latent = (arch_value(metadata, f"attention.{name}") or 0 for name in ("head_count", "kv_lora_rank"))
    sizes = zip(("key", "value"), head_sizes(metadata), strict=True)
    keys, values = (arch_value(metadata, f"attention.{kind}_length_mla") or size for kind, size in sizes)
    plain, total = max(keys - (arch_value(metadata, "rope.dimension_count") or 0), 0), 0
    for name, tensor in tensors.items():
        if name.endswith(".attn_kv_b.weight"):
            wide = tensor.nbytes >= 2 * heads * (plain + values) * latent
            total += (4 if wide else 2) * heads * plain * latent
    return total


def expert_activations(metadata: Mapping[str, Any]) -> int:
    """Activations per token and active expert: input, output, and two of the inner width."""
    inner = arch_value(metadata, "expert_feed_forward_length") or arch_value(metadata, "feed_forward_length") or 0
    return 2 * (arch_value(metadata, "embedding_length") or 0) + 2 * inner


def head_sizes(metadata: Mapping[str, Any]) -> tuple[int, int]:
    """head_dim of keys and of values."""
    size = (arch_value(metadata, "embedding_length") or 0) // (arch_value(metadata, "attention.head_count") or 1)
    keys, values = arch_value(metadata, "attention.key_length"), arch_value(metadata, "attention.value_length")
    return (size if keys is None else keys), (size if values is None else values)


def kv_heads(metadata: Mapping[str, Any]) -> int | None:
    """Number of KV heads in a layer; defaults to the number of query heads."""
    heads = arch_value(metadata, "attention.head_count_kv")
    return arch_value(metadata, "attention.head_count") if heads is None else heads


def sliding_window(metadata: Mapping[str, Any]) -> int:
    """The window of layers that have one, 0 for none; where the file does not say it, that of the architecture."""
    stated = numbers(str(metadata.get("general.architecture")))
    if "PERIOD" not in stated:
        return 0
    window = arch_value(metadata, "attention.sliding_window")
    return stated.get("WINDOW", 0) if window is None else window


def cached_layers(metadata: Mapping[str, Any]) -> list[CachedLayer]:
    """Each layer that has keys and values of its own.

    Layers with a sliding window may have other head sizes; the last layers may share the keys and values of others.
    Latents have no keys beside them.
    """
    layers = min(arch_value(metadata, "block_count") or 0, MAX_LAYERS)
    if latent := arch_value(metadata, "attention.kv_lora_rank"):  # one vector is key and value of all heads
        size = latent + (arch_value(metadata, "rope.dimension_count") or 0)
        return [CachedLayer(1, 0, size)] * min(layers, attention_blocks(metadata))
    keys, values = head_sizes(metadata)
    if arch_value(metadata, "decoder_start_token_id") is not None:  # and as many of the text that an encoder reads
        decoder = arch_value(metadata, "decoder_block_count")
        both = 2 * min(layers if decoder is None else decoder, MAX_LAYERS)
        return [CachedLayer(kv_heads(metadata) or 0, keys, values)] * both
    local_keys, local_values = (
        size if (own := arch_value(metadata, f"attention.{kind}_length_swa")) is None else own
        for kind, size in (("key", keys), ("value", values))
    )
    same = [kv_heads(metadata) or 0] * min(attention_blocks(metadata), MAX_LAYERS)
    heads = _each(metadata, "attention.head_count_kv", layers) or same
    slides = _slides(metadata, len(heads))
    own = max(len(heads) - (arch_value(metadata, "attention.shared_kv_layers") or 0), 0)
    sizes = [(local_keys, local_values, True) if local else (keys, values, False) for local in slides]
    return [CachedLayer(n, *rest) for n, rest in zip(heads, sizes, strict=True)][: min(own, run_blocks(metadata))]


def _slides(metadata: Mapping[str, Any], layers: int) -> list[bool]:
    """Whether each of the layers has a sliding window."""
    if not sliding_window(metadata):
        return [False] * layers
    period = arch_value(metadata, "attention.sliding_window_pattern")
    if period is None:
        period = numbers(str(metadata.get("general.architecture"))).get("PERIOD", 0)
    pattern = _each(metadata, "attention.sliding_window_pattern", layers)
    return sliding_blocks(layers, period, None if pattern is None else [flag > 0 for flag in pattern])


def _each(metadata: Mapping[str, Any], name: str, layers: int) -> list[int] | None:
    """The integers of an array for each layer, None for anything else; negative ones and other values count as 0."""
    value = stored(metadata, name)
    if not isinstance(value, Array) or len(value) != layers:
        return None
    return [int(n) if isinstance(n, int) and n > 0 else 0 for n in value]
