"""Blocks that encoders share, with weights under GGUF's tensor names.

An encoder reads a whole text at once: attention has no mask, and the result are states (tokens, width) instead of
logits. `h` are the hyperparameters, `w` the tensors of one block, or of the file.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..runtime.graph import Value
from . import Layers, Linear
from .decoder import Sublayer, attention_output, qkv_weights
from .hyperparameters import Hyperparameters
from .metadata import Config
from .score_bias import ScoreBias, distance_buckets
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
    x = g.tanh(g.linear(x, *w.linear("cls", h.width, h.width)))
    return g.linear(x, *labels(w, h.width))


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
