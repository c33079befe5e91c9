"""How much a batch of whole texts holds, and the copy of the weights: numbers without NumPy, for `show`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..ops.kv.kv_type import padded
from ..quant.kernels.int16_weights import int16_bytes
from ..quant.kernels.matmul_int16 import use_int16

if TYPE_CHECKING:
    from ..quant.tensor import QTensor

BATCH_TOKENS = 256  # of a batch, unless a single text is longer: what kernels hand on stays in the L2 cache
BATCH_CELLS = 12 * BATCH_TOKENS  # of short texts' keys, each of which takes a whole number of vectors
MOST_COPIED = 1 << 30  # bytes: models whose copy would be larger are multiplied as they are
TABLES = ("token_", "position_")  # how names of tensors begin of which rows are looked up
CACHE_TYPE = "f32"  # of keys and values, which are not kept from batch to batch


def batch_rows(n_ctx: int) -> int:
    """Tokens of a batch at most, for texts of at most `n_ctx` tokens."""
    return max(BATCH_TOKENS, n_ctx)


def batch_cells(n_ctx: int) -> int:
    """Cells for the keys of a batch: a text takes a multiple of `padded(1)`."""
    return max(BATCH_CELLS, padded(n_ctx))


def int16_copy_bytes(tensors: Mapping[str, QTensor], isa: str) -> int:
    """Bytes of the copy of all matrices among `tensors` that products read as 16-bit integers; 0 if it is too large."""
    matrices = [t for name, t in tensors.items() if len(t.shape) == 2 and not name.startswith(TABLES)]
    total = sum(int16_bytes(t.rows, t.k) for t in matrices if use_int16(t.format, t.rows, t.k, isa))
    return total if total <= MOST_COPIED else 0
