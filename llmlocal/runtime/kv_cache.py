"""Keys and values of every layer, for several sequences side by side. Knows cells, not tokens' texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..ops.kv import find
from ..ops.kv.kind import ALIGN, Kind, padded
from .graph import aligned


@dataclass(frozen=True, slots=True)
class LayerCache:
    """Memory of one layer's keys and values, each (kv_heads, cells) as `kind` lays them out."""

    kind: Kind
    kv_heads: int
    head_dim: int
    value_dim: int
    cells: int
    keys: NDArray[np.uint8]
    values: NDArray[np.uint8]

    def operands(self) -> dict[str, Any]:
        """What kernels are told of it."""
        return {
            "keys": self.keys.ctypes.data,
            "values": self.values.ctypes.data,
            "kv_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "value_dim": self.value_dim,
            "cells": self.cells,
        }

    def planes(self) -> Iterator[NDArray[np.uint8]]:
        """Views (any, cells / ALIGN, bytes) that make up all of it."""
        heads, width, stretches = self.kv_heads, padded(self.value_dim), self.cells // ALIGN
        yield self.keys.reshape(heads, stretches, -1)
        values, rows = self.values.reshape(heads, -1), self.cells * width * self.kind.number_bytes
        yield values[:, :rows].reshape(heads, stretches, -1)
        if self.kind.scale_bytes:
            scales = values[:, rows:].reshape(heads, width // ALIGN, stretches, -1)
            yield from (scales[:, i] for i in range(width // ALIGN))


class KVCache:
    """Room for `n_seqs` sequences of `n_ctx` tokens; sequence s owns the cells from `base(s)` on.

    Pages are taken from the system when they are first written, so an unused context costs nothing.
    """

    def __init__(self, n_ctx: int, n_seqs: int, kind: str = "f16") -> None:
        """Raises UsageError for a kind that there is not."""
        self.kind = find(kind)
        self.n_ctx, self.n_seqs = n_ctx, n_seqs
        self.stride = padded(n_ctx)
        self.cells = self.stride * n_seqs
        self.layers: list[LayerCache] = []

    def add_layer(self, kv_heads: int, head_dim: int, value_dim: int) -> LayerCache:
        """Memory for a further layer."""
        for dim in (head_dim, value_dim):
            if dim % self.kind.multiple:
                raise UsageError(
                    f"a {self.kind.name} cache holds heads of a multiple of {self.kind.multiple} numbers; "
                    f"this model's have {dim}",
                    "use --kv-type f16",
                )
        keys, values = (kv_heads * self.cells * self.kind.cell_bytes(dim) for dim in (head_dim, value_dim))
        layer = LayerCache(self.kind, kv_heads, head_dim, value_dim, self.cells, aligned(keys), aligned(values))
        self.layers.append(layer)
        return layer

    def base(self, seq: int) -> int:
        """First cell of a sequence."""
        return seq * self.stride

    def first_cells(self, n: int, seq: int = 0) -> list[NDArray[np.uint8]]:
        """The memory of the first `n` tokens of a sequence, in whole stretches: views (any, ceil(n / ALIGN), bytes).

        What is copied from them may be copied into those of another cache of the same kind and model.
        """
        some = slice(self.base(seq) // ALIGN, (self.base(seq) + padded(n)) // ALIGN)
        return [plane[:, some] for layer in self.layers for plane in layer.planes()]

    @property
    def nbytes(self) -> int:
        """Bytes when every cell is used."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)
