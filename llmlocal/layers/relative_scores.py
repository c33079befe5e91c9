"""Scores that are added to those of attention and depend on the content of query or key besides their distance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ops.kv.kv_type import padded
from ..ops.relative_scores import part_scores, relative_scores
from ..runtime.batch import Batch
from ..runtime.graph import Value
from . import Layers
from .score_bias import ScoreBias, distances


class RelativeScores:
    """Such scores of one layer of attention, whose texts lie whole in a batch; `bias` is what attention is given.

    `scale` multiplies all of them. `add` must come first.
    """

    def __init__(self, g: Layers, *, head_dim: int, heads: int, scale: float) -> None:
        stride, batch = padded(g.cache.n_ctx), g.graph.batch
        starts = g.keep(np.arange(batch.ubatch, dtype=np.int64) * heads * stride)
        self._g, self._heads = g, heads
        self.bias = ScoreBias(g.graph.value(heads * stride), starts, stride)
        self._shared: dict[str, Any] = {
            "tokens": batch.tokens,
            "positions": batch.positions.ctypes.data,
            "last_positions": batch.last_positions.ctypes.data,
            "out": self.bias.values,
            "heads": heads,
            "head_dim": head_dim,
            "stride": stride,
            "scale": float(scale),
        }
        self._adds = 0

    def add(self, x: Value, vectors: NDArray[np.float64], rows: int, *, by_key: bool = False) -> None:
        """Products of the queries x (tokens, heads * head_dim), of the keys if `by_key`, with the vectors of distances.

        `vectors` (heads, n, head_dim); `rows` as `distance_rows` gives them.
        """
        where: dict[str, Any] = {"rows": rows, "origin": self._g.cache.n_ctx, "count": vectors.shape[1]}
        table, adds, self._adds = self._g.constant(vectors), self._adds, 1
        self._g.graph.add(relative_scores, x=x, by_key=int(by_key), vectors=table, adds=adds, **where, **self._shared)

    def add_parts(self, x: Value, vectors: NDArray[np.float32], parts: int) -> None:
        """Products of the queries x with the first of two vectors where the key belongs to the same part of a pair.

        `vectors` (2, heads * head_dim); `parts` is the address of each token's part, int64 (tokens,).
        """
        self._g.graph.add(part_scores, x=x, vectors=self._g.constant(vectors), parts=parts, **self._shared)


class PartsOfPairs:
    """The part of a pair that each token of a batch belongs to, filled before each run; `cls` is a part of its own.

    `address` is that of int64 (tokens,).
    """

    def __init__(self, batch: Batch, cls: Any) -> None:
        """`cls`: the id of the token that stands for both texts, None for no such token."""
        self._batch, self._cls = batch, cls
        self._parts = np.zeros(batch.ubatch, np.int64)
        self.address = int(self._parts.ctypes.data)

    def fill(self, positions: NDArray[np.int64]) -> None:
        """Compute the parts of a batch of as many tokens as `positions` has."""
        n = len(positions)
        self._parts[:n] = np.where(self._batch.ids[:n] == self._cls, 2, self._batch.token_types[:n])


def distance_rows(g: Layers, row_of: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> int:
    """Address of the row that belongs to each distance, which `row_of` gives for key position minus query position."""
    return g.keep(np.ascontiguousarray(row_of(distances(g.cache.n_ctx)), np.int64))


def by_head(vectors: NDArray[np.float64], heads: int) -> NDArray[np.float64]:
    """Vectors (n, heads * head_dim) as (heads, n, head_dim)."""
    return np.ascontiguousarray(vectors.reshape(len(vectors), heads, -1).swapaxes(0, 1))
