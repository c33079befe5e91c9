"""Keys and values of every layer, for several sequences side by side. Knows cells, not tokens' texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .graph import aligned
from .ops.attention import ALIGN, padded
from .quant.format import BY_NAME, Format, load_all


@dataclass(frozen=True, slots=True)
class LayerCache:
    """Bytes of one layer's keys (kv_heads, cells, padded(head_dim)) and values (.., padded(value_dim)) in `format`."""

    format: type[Format]
    keys: NDArray[np.uint8]
    values: NDArray[np.uint8]


class KVCache:
    """Room for `n_seqs` sequences of `n_ctx` tokens; sequence s owns the cells from `base(s)` on.

    Pages are taken from the system when they are first written, so an unused context costs nothing.
    """

    def __init__(self, n_ctx: int, n_seqs: int, kind: str = "F16") -> None:
        load_all()
        self.format = BY_NAME[kind]
        self.n_ctx, self.n_seqs = n_ctx, n_seqs
        self.stride = -(-n_ctx // ALIGN) * ALIGN
        self.cells = self.stride * n_seqs
        self.layers: list[LayerCache] = []

    def add_layer(self, kv_heads: int, head_dim: int, value_dim: int) -> LayerCache:
        """Memory for a further layer."""
        keys, values = (kv_heads * self.cells * self.format.row_bytes(padded(dim)) for dim in (head_dim, value_dim))
        layer = LayerCache(self.format, aligned(keys), aligned(values))
        self.layers.append(layer)
        return layer

    def base(self, seq: int) -> int:
        """First cell of a sequence."""
        return seq * self.stride

    @property
    def nbytes(self) -> int:
        """Bytes when every cell is used."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)
