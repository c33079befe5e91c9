"""Blocks that predict further tokens (MTP) in a file: whether it has one that can be run, and what that takes."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, Protocol

from .. import models
from ..ops.kv import find
from ..ops.kv.kv_type import padded
from .arch_value import arch_value
from .memory import head_sizes, kv_heads

SINGLE = 4  # bytes of a float32
PROJECTION = "nextn.eh_proj.weight"


class Sized(Protocol):
    """A tensor."""

    @property
    def nbytes(self) -> int: ...


def predicting_blocks(metadata: Mapping[str, Any]) -> int:
    """How many of a file's blocks are such."""
    return arch_value(metadata, "nextn_predict_layers") or 0


def can_predict(metadata: Mapping[str, Any], tensors: Container[str]) -> bool:
    """Whether a file has such a block, of an architecture where it is run."""
    blocks, count = arch_value(metadata, "block_count") or 0, predicting_blocks(metadata)
    there = 0 < count < blocks and f"blk.{blocks - count}.{PROJECTION}" in tensors
    return there and models.predicts(str(metadata.get("general.architecture")))


def assistant_memory(tensors: Iterable[Sized], metadata: Mapping[str, Any], n_ctx: int, n_seqs: int) -> int:
    """Bytes of the `tensors` of an assistant, and of what the model, with `metadata`, made of the tokens."""
    return sum(t.nbytes for t in tensors) + SINGLE * n_seqs * n_ctx * (arch_value(metadata, "embedding_length") or 0)


def predictor_memory(metadata: Mapping[str, Any], n_ctx: int, kv_type: str, n_seqs: int) -> int:
    """Bytes of the block's cache for each sequence, and of what the model made of their tokens."""
    width, kind = arch_value(metadata, "embedding_length") or 0, find(kv_type)
    if latent := arch_value(metadata, "attention.kv_lora_rank"):
        cell = kind.cell_bytes(latent + (arch_value(metadata, "rope.dimension_count") or 0))
    else:
        cell = (kv_heads(metadata) or 0) * sum(map(kind.cell_bytes, head_sizes(metadata)))
    return n_seqs * (padded(n_ctx) * cell + SINGLE * n_ctx * width)
