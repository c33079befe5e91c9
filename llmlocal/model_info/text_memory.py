"""Estimates the memory of a model that reads whole texts, for vectors or scores, from a file's metadata alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..models import numbers
from ..ops.kv import find
from ..ops.kv.kv_type import padded
from ..ops.text_attention import takes
from ..quant.jit.cpu import target
from ..quant.kernels.matmul import SCRATCH_BYTES
from ..quant.kernels.q16_activations import q16_bytes
from ..runtime.packed_texts import CACHE_TYPE, batch_cells, batch_rows, int16_copy_bytes
from .arch_value import arch_value, stored
from .memory import SINGLE, Memory, activation_bytes, cached_layers, head_sizes, program_memory

if TYPE_CHECKING:
    from ..quant.tensor import QTensor


def text_memory(metadata: Mapping[str, Any], tensors: Mapping[str, QTensor], n_ctx: int) -> Memory:
    """Estimate the memory for texts of at most `n_ctx` tokens; missing metadata counts as 0.

    The copy of weights is among the buffers.
    """
    kind, rows = find(CACHE_TYPE), batch_rows(n_ctx)
    shapes = {(n, k, v) for n, k, v, _ in cached_layers(metadata)}  # layers of one shape share their cells
    cells = uses_cells(metadata, n_ctx)
    if not cells:
        shapes.clear()
    cache = batch_cells(n_ctx) * sum(n * (kind.cell_bytes(k) + kind.cell_bytes(v)) for n, k, v in shapes)
    scratch = SCRATCH_BYTES + rows * activation_bytes(metadata) + relative_scores(metadata, n_ctx)
    if not cells:  # queries, keys and values are there until attention is done
        scratch += SINGLE * rows * (arch_value(metadata, "attention.head_count") or 0) * head_sizes(metadata)[1]
    if copied := int16_copy_bytes(tensors, target().isa):
        widths = (arch_value(metadata, f"{name}_length") or 0 for name in ("embedding", "feed_forward"))
        scratch += copied + rows * sum(q16_bytes(width) for width in widths)
    weights = sum(tensor.nbytes for tensor in tensors.values())
    return Memory(n_ctx, weights, cache, scratch, program_memory(metadata))


def reads_texts(metadata: Mapping[str, Any]) -> bool:
    """Whether a file holds an encoder, which reads whole texts alone."""
    return stored(metadata, "attention.causal") is False


def uses_cells(metadata: Mapping[str, Any], n_ctx: int) -> bool:
    """Whether attention keeps the keys and values of texts of `n_ctx` tokens: not that of an encoder's short texts,
    whose tokens all attend to one another, without biases."""
    stated = numbers(str(metadata.get("general.architecture")))
    biased = "DISTANCE_TABLES" in stated or "STEEPEST" in stated
    limited = (arch_value(metadata, f"attention.{name}") for name in ("sliding_window", "relative_buckets_count"))
    plain = reads_texts(metadata) and not biased and not any(limited)
    return not (plain and takes(n_ctx, *head_sizes(metadata)))


def relative_scores(metadata: Mapping[str, Any], n_ctx: int) -> int:
    """Bytes of scores that depend on distances: those of a batch, and the vectors of all distances in every block."""
    tables = numbers(str(metadata.get("general.architecture"))).get("DISTANCE_TABLES", 0)
    heads, blocks = (arch_value(metadata, name) or 0 for name in ("attention.head_count", "block_count"))
    buckets = arch_value(metadata, "attention.relative_buckets_count")
    most = arch_value(metadata, "attention.relative_distance_max")
    distances = next((2 * n for n in (buckets, most) if n is not None), 2 * n_ctx)
    vectors = blocks * distances * heads * head_sizes(metadata)[0]
    return SINGLE * tables * vectors + (SINGLE * batch_rows(n_ctx) * heads * padded(n_ctx) if tables else 0)
