"""Recurrent layers in a file's metadata: how many blocks have one, and what its state takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..gguf import Array
from ..runtime.checkpoints import between_slots, kept_bytes
from .arch_value import arch_value, stored

SINGLE, LINE = 4, 64  # bytes of a float32, and of a cache line, of which a layer's state is a multiple


def state_memory(metadata: Mapping[str, Any], n_seqs: int = 1) -> int:
    """Bytes of all states of a run: the current one of each sequence and its checkpoints."""
    return kept_bytes(_all_states(metadata), n_seqs)


def between_memory(metadata: Mapping[str, Any], n_seqs: int, verified: int) -> int:
    """Bytes of the states that are kept between tokens of which `verified` at most are proposed at once."""
    each = _all_states(metadata)
    return each * between_slots(each, verified, n_seqs)


def _all_states(metadata: Mapping[str, Any]) -> int:
    """Bytes of one state of all blocks."""
    sizes = (size for size in (conv_state(metadata), scan_state(metadata)) if size)
    each = sum(-(-SINGLE * size // LINE) * LINE for size in sizes)
    return recurrent_blocks(metadata) * each


def recurrent_blocks(metadata: Mapping[str, Any]) -> int:
    """Number of blocks with a recurrent state."""
    blocks = run_blocks(metadata)
    if not conv_state(metadata):
        return 0
    kv_heads, ffn = stored(metadata, "attention.head_count_kv"), stored(metadata, "feed_forward_length")
    if isinstance(kv_heads, Array):
        alone = ffn if isinstance(ffn, Array) else [0] * len(kv_heads)  # a block may be a feed-forward and no more
        return sum(not heads and not inner for heads, inner in zip(kv_heads, alone, strict=False))
    flags, every = stored(metadata, "attention.recurrent_layers"), arch_value(metadata, "full_attention_interval")
    if isinstance(flags, Array):
        return sum(map(bool, flags))
    return blocks - blocks // every if every else blocks


def attention_blocks(metadata: Mapping[str, Any]) -> int:
    """Number of blocks that keep keys and values; `attention.head_count_kv` is the same in all of them.

    Where all blocks are recurrent, they have both, or no heads; in RWKV heads of keys are those of its states.
    """
    if arch_value(metadata, "wkv.head_size"):
        return 0
    blocks, recurrent = run_blocks(metadata), recurrent_blocks(metadata)
    return blocks - recurrent if recurrent < blocks else blocks


def run_blocks(metadata: Mapping[str, Any]) -> int:
    """Number of blocks without those that predict further tokens (MTP), which are not run."""
    return max((arch_value(metadata, "block_count") or 0) - (arch_value(metadata, "nextn_predict_layers") or 0), 0)


def mixed_values(metadata: Mapping[str, Any]) -> int:
    """Activations of a recurrent layer for each token."""
    if arch_value(metadata, "shortconv.l_cache"):
        return 4 * (arch_value(metadata, "embedding_length") or 0)
    return 2 * _channels(metadata) + 2 * _inner(metadata)


def conv_state(metadata: Mapping[str, Any]) -> int:
    """Numbers in the state of a short convolution or a token shift, 0 where the model has none."""
    if arch_value(metadata, "wkv.head_size"):  # of RWKV: the token before, for each of two mixes, or for one
        shifts = arch_value(metadata, "token_shift_count")
        return (2 if shifts is None else shifts) * (arch_value(metadata, "embedding_length") or 0)
    size = arch_value(metadata, "shortconv.l_cache") or arch_value(metadata, "ssm.conv_kernel") or 0
    return max(size - 1, 0) * _channels(metadata)


def scan_state(metadata: Mapping[str, Any]) -> int:
    """Numbers in the state of a delta rule or a scan, 0 where the model has none."""
    names = ("kda.head_dim", "wkv.head_size", "ssm.state_size")
    return _inner(metadata) * next((size for name in names if (size := arch_value(metadata, name))), 0)


def _inner(metadata: Mapping[str, Any]) -> int:
    """Width of all heads of a delta rule or a scan."""
    if arch_value(metadata, "wkv.head_size"):
        return arch_value(metadata, "embedding_length") or 0
    if dim := arch_value(metadata, "kda.head_dim"):  # as many heads as attention has
        return dim * (arch_value(metadata, "attention.head_count") or 0)
    return arch_value(metadata, "ssm.inner_size") or 0


def _channels(metadata: Mapping[str, Any]) -> int:
    """Channels of the convolution."""
    if arch_value(metadata, "shortconv.l_cache"):
        return arch_value(metadata, "embedding_length") or 0
    if arch_value(metadata, "kda.head_dim") or arch_value(metadata, "wkv.head_size"):
        return 3 * _inner(metadata)
    groups, size = arch_value(metadata, "ssm.group_count") or 0, arch_value(metadata, "ssm.state_size") or 0
    return _inner(metadata) + 2 * groups * size
