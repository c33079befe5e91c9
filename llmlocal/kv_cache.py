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
    """Bytes of one layer's keys and values, each (kv_heads, cells, padded(head_dim)) in `format`."""

    format: type[Format]
    kv_heads: int
    head_dim: int
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
        self._planes: list[NDArray[np.uint8]] = []  # keys, values of each layer as (kv_heads, cells, bytes)

    def add_layer(self, kv_heads: int, head_dim: int) -> LayerCache:
        """Memory for a further layer."""
        size = kv_heads * self.cells * self.format.row_bytes(padded(head_dim))
        layer = LayerCache(self.format, kv_heads, head_dim, aligned(size), aligned(size))
        self.layers.append(layer)
        self._planes += [array.reshape(kv_heads, self.cells, -1) for array in (layer.keys, layer.values)]
        return layer

    def base(self, seq: int) -> int:
        """First cell of a sequence."""
        return seq * self.stride

    def first_cells(self, n: int, seq: int = 0) -> list[NDArray[np.uint8]]:
        """Keys and values of each layer in turn for the first `n` tokens of a sequence: views (kv_heads, n, bytes)."""
        base = self.base(seq)
        return [plane[:, base : base + n] for plane in self._planes]

    @property
    def nbytes(self) -> int:
        """Bytes when every cell is used."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)
