"""How much a batch of whole texts holds, one after the other: numbers without NumPy, so that `show` can use them."""

from __future__ import annotations

from ..ops.kv.kv_type import padded

BATCH_TOKENS = 256  # of a batch, unless a single text is longer: what kernels hand on stays in the L2 cache
BATCH_CELLS = 12 * BATCH_TOKENS  # of short texts' keys, each of which takes a whole number of vectors
CACHE_TYPE = "f32"  # of keys and values, which are not kept from batch to batch


def batch_rows(n_ctx: int) -> int:
    """Tokens of a batch at most, for texts of at most `n_ctx` tokens."""
    return max(BATCH_TOKENS, n_ctx)


def batch_cells(n_ctx: int) -> int:
    """Cells for the keys of a batch: a text takes a multiple of `padded(1)`."""
    return max(BATCH_CELLS, padded(n_ctx))
