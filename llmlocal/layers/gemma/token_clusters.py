"""Logits of the tokens of some clusters alone: the centroids that fit a state best say which (Gemma 4's assistants).

A cluster's tokens have a matrix of their own: rows of the output matrix in the order of clusters, which is a copy. So
clusters are chosen and multiplied as experts are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...ops.gather_rows import gather_rows
from ...quant.tensor import QTensor
from ...runtime.graph import Value
from .. import Layers
from ..expert_matrices import ExpertMatrices
from ..moe import grouped_linear, route
from ..weights import Weights

CENTROIDS, ORDER = "masked_embd_centroids.weight", "masked_embd_ordering"
OTHERS = 1.0  # by how much the logits of other clusters' tokens are below the least


@dataclass(frozen=True, slots=True)
class ClusterLogits:
    """The logits of each token's best clusters, (tokens * used, cluster size) float32, with the clusters in order.

    `token_of` and `cluster_of` are (tokens * used,) int64, `order` (clusters, cluster size) has the ids of tokens.
    """

    values: Value
    token_of: Value
    cluster_of: Value
    order: NDArray[np.int64]

    def keep(self, g: Layers) -> None:
        """Hold them after a run."""
        for value in (self.values, self.token_of, self.cluster_of):
            g.graph.keep(value)

    def of(self, token: int, tokens: int) -> NDArray[np.float32]:
        """Logits (vocab,) of one token of a batch of so many; other clusters' have one value, below the least."""
        held = [value.kept for value in (self.values, self.token_of, self.cluster_of)]
        values, token_of, cluster_of = (memory for memory in held if memory is not None)
        pairs = tokens * self.token_of.width
        mine = token_of.view(np.int64)[:pairs] == token
        logits = values.view(np.float32).reshape(-1, self.order.shape[1])[:pairs][mine]
        out = np.full(self.order.size, logits.min() - OTHERS, np.float32)
        out[self.order[cluster_of.view(np.int64)[:pairs][mine]]] = logits
        return out


def has_clusters(w: Weights) -> bool:
    """Whether a file has clusters of tokens."""
    return w.has(CENTROIDS)


def cluster_logits(g: Layers, w: Weights, x: Value, embedding: QTensor, used: int) -> ClusterLogits:
    """Logits of x (tokens, width), all of them, by the rows of `embedding` (vocab, width) of its `used` best clusters.

    Raises BadFileError where clusters are not all of one size, or do not hold each token once.
    """
    clusters, (vocab, width) = w.rows(CENTROIDS), embedding.shape
    centroids, ordered = w.matrix(CENTROIDS, clusters, width), w.numbers(ORDER, vocab)
    if vocab % clusters or used > clusters or not np.array_equal(np.sort(ordered), np.arange(vocab)):
        raise w.fail(f"tensor '{ORDER}' does not hold each of {vocab} tokens once, in {clusters} clusters")
    order = ordered.astype(np.int64)
    shape = clusters, vocab // clusters, width
    rows = np.ascontiguousarray(embedding.bytes_array()[order])
    matrices = ExpertMatrices.stacked(QTensor(embedding.name, embedding.format, shape, rows.reshape(-1).data))
    r = route(g, g.linear(x, centroids), used, normalize_weights=False, factor=1.0)
    each = g.graph.value(used * width)
    count = g.graph.batch.tokens_times(used)
    g.graph.add(gather_rows, outputs=count, rows=r.token_of, x=x, out=each, width=width)
    values = grouped_linear(g, each, r.groups, used, matrices)
    return ClusterLogits(values, r.token_of, r.expert_of, order.reshape(clusters, -1))
