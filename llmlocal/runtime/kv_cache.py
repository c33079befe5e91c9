"""The KV cache: memory for keys and values of every layer, for several sequences side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..ops.kv import find
from ..ops.kv.kv_type import ALIGN, KVType, padded
from .buffers import aligned, reserved
from .packed_texts import CACHE_TYPE
from .ring import Ring
from .shared_prefixes import SharedPrefixes


@dataclass(frozen=True, slots=True)
class LayerCache:
    """Keys and values of one layer, each (kv_heads, cells, dim) in the layout of `kv_type`.

    A layer of latents has no keys; its values are the latents, of which the first `latent_values` numbers are what
    attention sums up. Attention to it has a `window`, or none; with a `ring`, its cells are those of the ring.
    """

    kv_type: KVType
    kv_heads: int
    head_dim: int
    value_dim: int
    cells: int
    keys: NDArray[np.uint8]
    values: NDArray[np.uint8]
    latent_values: int = 0
    window: int | None = None
    ring: Ring | None = None

    def arguments(self) -> dict[str, Any]:
        """Fields of the kernels that read or write this layer."""
        return {
            "keys": self.keys.ctypes.data,
            "values": self.values.ctypes.data,
            "kv_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "value_dim": self.value_dim,
            "cells": self.cells,
        }

    def latent_arguments(self) -> dict[str, Any]:
        """Fields of the attention to a layer of `add_latent_layer`: its rows are keys, and their beginnings values."""
        dims = {"head_dim": self.value_dim, "value_dim": self.latent_values}
        return self.arguments() | {"keys": self.values.ctypes.data, **dims}

    def planes(self) -> Iterator[NDArray[np.uint8]]:
        """Views (n, cells / ALIGN, bytes) that together cover keys and values, ALIGN cells to an entry."""
        heads, width, blocks = self.kv_heads, padded(self.value_dim), self.cells // ALIGN
        if self.keys.size:
            yield self.keys.reshape(heads, blocks, -1)
        values, rows = self.values.reshape(heads, -1), self.cells * width * self.kv_type.element_bytes
        yield values[:, :rows].reshape(heads, blocks, -1)
        if self.kv_type.scale_bytes:
            scales = values[:, rows:].reshape(heads, width // ALIGN, blocks, -1)
            yield from (scales[:, i] for i in range(width // ALIGN))


class KVCache:
    """Cells for `n_seqs` sequences of `n_ctx` tokens each; sequence s uses the cells from `start(s)` on.

    Layers with a window have the cells of `ring`, unless they have another window than the first of them. The system
    provides pages when they are first written, so an unused part of the context takes no memory.
    """

    memory = staticmethod(reserved)

    def __init__(self, n_ctx: int, n_seqs: int, kv_type: str = "f16", ubatch: int = 0) -> None:
        """`ubatch`: tokens of a batch at most, 0 for a cache without a ring. Raises UsageError for an unknown
        `kv_type`."""
        self.kv_type = find(kv_type)
        self.n_ctx, self.n_seqs, self._ubatch = n_ctx, n_seqs, ubatch
        self.stride = padded(n_ctx)
        self.cells = self.stride * n_seqs
        self.layers: list[LayerCache] = []
        self.ring = Ring(None, n_ctx, n_seqs, ubatch)
        self.prefixes = SharedPrefixes(self.stride, self._copy)

    def add_layer(self, kv_heads: int, head_dim: int, value_dim: int, window: int | None = None) -> LayerCache:
        """Allocate one more layer. Raises UsageError for a head size that the cache type cannot hold."""
        for dim in (head_dim, value_dim):
            if dim % self.kv_type.head_multiple:
                raise UsageError(
                    f"a {self.kv_type.name} KV cache needs a head size that is a multiple of "
                    f"{self.kv_type.head_multiple}; this model has {dim}",
                    "use --kv-type f16",
                )
        ring = self._ring_of(window)
        cells = ring.cells * self.n_seqs if ring else self.cells
        keys, values = (self.memory(kv_heads * cells * self.kv_type.cell_bytes(dim)) for dim in (head_dim, value_dim))
        sizes = (kv_heads, head_dim, value_dim, cells)
        layer = LayerCache(self.kv_type, *sizes, keys, values, window=window, ring=ring)
        if ring:
            ring.add(layer.planes())
        self.layers.append(layer)
        return layer

    def _ring_of(self, window: int | None) -> Ring | None:
        """The ring for layers with this window, None where they have cells for the whole context."""
        if not window or not self._ubatch:
            return None
        if self.ring.window is None:
            self.ring = Ring(window, self.n_ctx, self.n_seqs, self._ubatch)
        same = (type(window), window) == (type(self.ring.window), self.ring.window)
        return self.ring if same else None

    def add_latent_layer(self, latent_dim: int, value_dim: int) -> LayerCache:
        """One more layer, of latents: one vector for each cell, whose first `value_dim` numbers are also the values.

        Raises UsageError for a size that the cache type cannot hold.
        """
        layer = replace(self.add_layer(1, 0, latent_dim), latent_values=value_dim)
        self.layers[-1] = layer
        return layer

    def start(self, seq: int) -> int:
        """First cell of a sequence."""
        return seq * self.stride

    def first_cells(self, n: int, seq: int = 0) -> list[NDArray[np.uint8]]:
        """The memory of the first `n` tokens of a sequence: views (m, ceil(n / ALIGN), bytes), without the ring's.

        Tokens that the sequence borrows, see `prefixes`, lie elsewhere.
        Their contents may be copied to those of another cache of the same type and model.
        """
        return self._cells(seq, 0, n)

    def _cells(self, seq: int, first: int, end: int) -> list[NDArray[np.uint8]]:
        some = slice((self.start(seq) + first) // ALIGN, (self.start(seq) + padded(end)) // ALIGN)
        return [plane[:, some] for layer in self.layers if layer.ring is None for plane in layer.planes()]

    def _copy(self, source: int, target: int, first: int, end: int) -> None:
        """Copy cells first .. end - 1, multiples of ALIGN, from one sequence to another, without those of the ring."""
        for old, new in zip(self._cells(source, first, end), self._cells(target, first, end), strict=True):
            new[:] = old

    @property
    def nbytes(self) -> int:
        """Bytes of the full cache."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)


class PackedCache(KVCache):
    """Cells for the texts of one batch, each of at most `n_ctx` tokens: `cells` in all, shared by all layers.

    A text starts at a multiple of ALIGN. Nothing is kept from batch to batch, so layers of one shape use the same
    memory one after the other, all of it. Keys and values are float32.
    """

    memory = staticmethod(aligned)

    def __init__(self, n_ctx: int, cells: int) -> None:
        super().__init__(n_ctx, 1, CACHE_TYPE)
        self.cells = padded(cells)

    def add_layer(self, kv_heads: int, head_dim: int, value_dim: int, window: int | None = None) -> LayerCache:
        """The memory of one more layer."""
        shape = (kv_heads, head_dim, value_dim)
        for layer in self.layers:
            if (layer.kv_heads, layer.head_dim, layer.value_dim) == shape:
                return replace(layer, window=window)
        return super().add_layer(*shape, window)
