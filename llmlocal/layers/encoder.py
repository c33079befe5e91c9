"""Blocks that encoders share, with weights under GGUF's tensor names.

An encoder reads a whole text at once: attention has no mask, and the result are states (tokens, width) instead of
logits. `h` are the hyperparameters, `w` the tensors of one block, or of the file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ops.kv.kv_type import padded
from ..ops.relative_scores import part_scores, relative_scores
from ..runtime.batch import Batch
from ..runtime.graph import Value
from . import Layers, Linear
from .decoder import Sublayer, attention_output, qkv_weights
from .hyperparameters import Hyperparameters
from .metadata import Config
from .score_bias import ScoreBias, distance_buckets, distances
from .weights import Weights

Norm = Callable[[Layers, Hyperparameters, Weights, str, Value], Value]  # of whole tokens, by the name of its weights


def embedding(g: Layers, h: Hyperparameters, w: Weights, vocab: int) -> Value:
    """Token embedding, plus the embedding of token types if the file has one -> (tokens, width)."""
    x = g.embed(w.matrix("token_embd.weight", vocab, h.width))
    if w.has("token_types.weight"):
        x = g.add(x, g.embed_token_types(w.table("token_types.weight", h.width)))
    return x


def norm(g: Layers, h: Hyperparameters, w: Weights, name: str, x: Value) -> Value:
    """Layer norm of whole tokens, with the weights `name`.weight and `name`.bias."""
    return g.layer_norm(x, w.vector(f"{name}.weight", h.width), w.vector(f"{name}.bias", h.width), h.eps)


def post_norm_encoder(
    g: Layers, h: Hyperparameters, w: Weights, x: Value, attention: Sublayer, feed_forward: Sublayer
) -> Value:
    """States (tokens, width) of blocks that normalize the sum of their input and what a sublayer makes of it."""
    for i in range(h.blocks):
        x = post_norm_block(g, h.block(i), w.block(i), x, attention, feed_forward)
    return x


def post_norm_block(
    g: Layers, h: Hyperparameters, w: Weights, x: Value, attention: Sublayer, feed_forward: Sublayer
) -> Value:
    """One block of `post_norm_encoder`."""
    x = norm(g, h, w, "attn_output_norm", g.add(attention(h, w, x), x))
    return norm(g, h, w, "layer_output_norm", g.add(feed_forward(h, w, x), x))


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value) -> Value:
    """Multi-head attention of x (tokens, width) -> (tokens, width)."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))


def relative_biases(
    g: Layers, c: Config, h: Hyperparameters, w: Weights, before: ScoreBias | None, *, both_ways: bool
) -> ScoreBias:
    """Biases of a block by the distance of query and key; those of the block `before` where it has none of its own."""
    if before is not None and not w.has("attn_rel_b.weight"):
        return before
    count = c.integer("attention.relative_buckets_count", 4, 1 << 16)
    table = w.matrix("attn_rel_b.weight", count, h.heads).dequantize()

    def biases(distances: NDArray[np.int64]) -> NDArray[np.float32]:
        buckets = distance_buckets(distances, count, both_ways=both_ways)
        return np.ascontiguousarray(table[buckets].T)

    return g.distance_bias(biases)


def mlp(g: Layers, h: Hyperparameters, w: Weights, x: Value) -> Value:
    """down(gelu_erf(up(x)))."""
    x = g.gelu_erf(g.linear(x, *w.linear("ffn_up", h.ffn, h.width)))
    return g.linear(x, *w.linear("ffn_down", h.width, h.ffn))


def tanh_classifier(g: Layers, h: Hyperparameters, w: Weights, x: Value) -> Value:
    """Scores (outputs, labels) of pooled states x (outputs, width): out(tanh(dense(x))). Raises BadFileError."""
    return dense_classifier(g, h, w, x, g.tanh)


def dense_classifier(
    g: Layers, h: Hyperparameters, w: Weights, x: Value, activation: Callable[[Value], Value]
) -> Value:
    """As `tanh_classifier`, with another activation."""
    return g.linear(activation(g.linear(x, *w.linear("cls", h.width, h.width))), *labels(w, h.width))


def dense_projection(g: Layers, c: Config, w: Weights, x: Value) -> Value:
    """The vectors of texts from pooled states x (outputs, width): linear layers, as many as the file names."""
    for name in ("dense_2", "dense_3"):
        if rows := c.integer(f"{name}_feat_out", 0, 1 << 20, 0):
            x = g.linear(x, w.matrix(f"{name}.weight", rows, x.width))
    return x


def labels(w: Weights, width: int) -> Linear:
    """Weight and bias of the layer that gives a score for each label, however many there are."""
    weight = w.table("cls.output.weight", width)
    return weight, w.maybe_vector("cls.output.bias", weight.rows)


def masked_word_logits(g: Layers, h: Hyperparameters, w: Weights, vocab: int, x: Value, norm: Norm) -> Value:
    """Logits (outputs, vocab) of states x (outputs, width) at masked tokens, by the head of a masked language model.

    dense, GELU and norm, then `word_outputs`.
    """
    x = g.gelu_erf(g.linear(x, *w.linear("mlm_dense", h.width, h.width)))
    return word_outputs(g, h, w, vocab, norm(g, h, w, "mlm_norm", x))


def word_outputs(g: Layers, h: Hyperparameters, w: Weights, vocab: int, x: Value) -> Value:
    """Logits (outputs, vocab) of x (outputs, width) by the output matrix and its bias, if the file has one.

    The matrix is the token embedding unless the file has its own.
    """
    name = "output.weight" if w.has("output.weight") else "token_embd.weight"
    return g.linear(x, w.matrix(name, vocab, h.width), w.maybe_vector("output.bias", vocab))


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
