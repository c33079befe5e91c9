"""GPT-2 (Radford et al. 2019): learned position embeddings, layer norms, biases, an MLP of two matrices with GELU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys, swaps
from ..hf.settings_check import TANH_GELU
from ..layers import Layers
from ..layers.decoder import Block, Sublayer, attention_output, logits, qkv_weights
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.score_bias import ScoreBias
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    return positional_decoder(g, c, w, vocab, lambda _, h, b, x: attention(g, h, b, x), partial(mlp, g))


def positional_decoder(g: Layers, c: Config, w: Weights, vocab: int, attention: Block, feed_forward: Sublayer) -> Value:
    """Logits (outputs, vocab) of a decoder that learned an embedding of each position, with these sublayers."""
    h = Hyperparameters.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    positions = g.embed_positions(w.matrix("position_embd.weight", h.context, h.width))
    x = g.add(g.embed(embedding), positions)
    for i in range(h.blocks):
        h, b = h.block(i), w.block(i)
        x = g.add(x, attention(i, h, b, norm(g, h, b, "attn_norm", x)))
        x = g.add(x, feed_forward(h, b, norm(g, h, b, "ffn_norm", x)))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def norm(g: Layers, h: Hyperparameters, w: Weights, name: str, x: Value) -> Value:
    """Layer norm of whole tokens."""
    return g.layer_norm(x, w.vector(f"{name}.weight", h.width), w.vector(f"{name}.bias", h.width), h.eps)


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, bias: ScoreBias | None = None) -> Value:
    """Attention without rotary embedding: positions are added to the embedding, or scores have linear biases."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5, bias=bias))


def mlp(
    g: Layers, h: Hyperparameters, w: Weights, x: Value, activation: Callable[[Value], Value] | None = None
) -> Value:
    """down(activation(up(x))), by default of GELU's tanh approximation."""
    x = (activation or g.gelu)(g.linear(x, *w.linear("ffn_up", h.ffn, h.width)))
    return g.linear(x, *w.linear("ffn_down", h.width, h.ffn))


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return {"feed_forward_length": 4 * s.integer("n_embd")} | decoder_keys(s)


SEPARATE_QKV = ("blk.{}.attn_q", "blk.{}.attn_k", "blk.{}.attn_v")  # of models like GPT-2; its own map has one tensor
CONVERSION = Conversion(
    classes=("GPT2LMHeadModel",),
    defaults={"layer_norm_epsilon": 1e-5},
    keys=keys,
    steps={r"\.c_(attn|proj|fc)\.weight$": swaps},
    activations=TANH_GELU,
)
