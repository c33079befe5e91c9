"""Blocks of decoders that mix gated delta nets with gated attention, with weights under GGUF's tensor names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...runtime.graph import Value
from .. import Layers
from ..decoder import Head, Sublayer, attention_output, head, last_logits, norm, predicting_blocks
from ..hyperparameters import Hyperparameters
from ..metadata import Config
from ..rope import Rope
from ..rope_scaling import rope_parameters
from ..weights import Weights
from . import gated_delta_rule, silu_short_conv

# Of a block's tensors and its normed input: queries, keys and values in one; the output gate; alpha and beta.
DeltaInputs = Callable[[Weights, Value], tuple[Value, Value, Value, Value]]


@dataclass(frozen=True, slots=True)
class DeltaNet:
    """Sizes of a gated delta net: value heads, key heads, the size of both, and the inputs of its convolution."""

    heads: int
    key_heads: int
    dim: int
    conv: int

    @property
    def key_dim(self) -> int:
        """Width of the keys of all heads."""
        return self.key_heads * self.dim

    @property
    def value_dim(self) -> int:
        """Width of the values of all heads."""
        return self.heads * self.dim

    @property
    def shared(self) -> int:
        """Value heads that share a key head."""
        return self.heads // self.key_heads

    @classmethod
    def read(cls, c: Config) -> DeltaNet:
        """Read and check metadata. Raises BadFileError for missing, wrong or unsupported values."""
        heads, dim = c.integer("ssm.time_step_rank", 1, 1 << 12), c.integer("ssm.state_size", 1, 1 << 12)
        key_heads = c.integer("ssm.group_count", 1, heads)
        if heads % key_heads:
            raise c.fail(f"{heads} value heads of the delta net are not a multiple of {key_heads} key heads")
        if dim % 8:
            raise c.fail(f"{c.arch}.ssm.state_size is {dim}; only multiples of 8 are supported")
        if c.integer("ssm.inner_size", 1, 1 << 24) != heads * dim:
            raise c.fail(f"{c.arch}.ssm.inner_size must be {heads * dim}, the size of all value heads")
        return cls(heads, key_heads, dim, c.integer("ssm.conv_kernel", 2, 16))


def delta_net_decoder(
    g: Layers, h: Hyperparameters, c: Config, w: Weights, vocab: int, mix: Sublayer, feed_forward: Sublayer
) -> Value:
    """Logits (outputs, vocab) of a decoder of gated delta nets, `mix`, and gated attention in some blocks.

    For text, the sections of the rotary embedding make no difference.
    """
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    c.integers("rope.dimension_sections", 4, 0, h.head_dim, (0,) * 4)
    x = g.embed(embedding)
    for i, recurrent in enumerate(recurrent_blocks(c, h.blocks)):
        h, b = h.block(i), w.block(i)
        n = norm(g, h, b, "attn_norm", x)
        x = g.add(x, mix(h, b, n) if recurrent else gated_attention(g, h, b, n, rope))
        x = g.add(x, feed_forward(h, b, norm(g, h, b, "post_attention_norm", x)))
    return last_logits(g, h, w, x, embedding)


def delta_net_head(g: Layers, h: Hyperparameters, c: Config, w: Weights, vocab: int, feed_forward: Sublayer) -> Head:
    """The block of such a decoder that predicts a further token: one with gated attention."""
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        x = g.add(x, gated_attention(g, h, b, norm(g, h, b, "attn_norm", x), rope))
        return g.add(x, feed_forward(h, b, norm(g, h, b, "post_attention_norm", x)))

    return head(g, h, c, w, vocab, block)


def recurrent_blocks(c: Config, blocks: int) -> list[bool]:
    """Which blocks that are run have a recurrent state: a flag for each, or all but one of an interval."""
    run = blocks - predicting_blocks(c, blocks)
    every = c.integer("full_attention_interval", 1, 1 << 12, 4)
    flags = c.flags("attention.recurrent_layers", blocks)
    if flags is None and f"{c.arch}.attention.recurrent_layers" in c.metadata:
        raise c.fail(f"{c.arch}.attention.recurrent_layers must have {blocks} booleans")
    return flags[:run] if flags else [(i + 1) % every > 0 for i in range(run)]


def gated_attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope) -> Value:
    """Grouped-query attention with norms of queries and keys, times the sigmoid of a gate beside each head's query."""
    dim, two = h.head_dim, w.linear("attn_q", 2 * h.q_dim, h.width)
    both, k, v = g.linears(x, two, w.linear("attn_k", h.kv_dim, h.width), w.linear("attn_v", h.kv_dim, h.width))
    q, gate = (g.columns(both, first=at, width=dim, groups=h.heads) for at in (0, dim))
    q = g.norm(q, w.vector("attn_q_norm.weight", dim), h.eps)
    k = g.norm(k, w.vector("attn_k_norm.weight", dim), h.eps)
    g.apply_rope(rope, q, k, head_dim=dim)
    out = g.attention(q, k, v, head_dim=dim, scale=dim**-0.5)
    return attention_output(g, h, w, g.sigmoid_gate(gate, out))


def gated_delta_net(
    g: Layers, h: Hyperparameters, d: DeltaNet, w: Weights, x: Value, inputs: DeltaInputs, *, group: int
) -> Value:
    """The delta rule after a short convolution, normed per head and gated; value head h has key head h // `group`."""
    qkv, gate, alpha, beta = inputs(w, x)
    mixed = silu_short_conv(g, qkv, w.vector("ssm_conv1d.weight", qkv.width, d.conv))
    rate, bias = w.vector("ssm_a", d.heads), w.vector("ssm_dt.bias", d.heads)
    out = gated_delta_rule(g, mixed, alpha, beta, rate, bias, dim=d.dim, group=group)
    out = g.swiglu(gate, g.norm(out, w.vector("ssm_norm.weight", d.dim), h.eps))
    return g.linear(out, *w.linear("ssm_out", h.width, d.value_dim))
