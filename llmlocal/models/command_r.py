"""Command R (Cohere 2024): attention and MLP run in parallel on the same layer norm; no biases."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys
from ..layers import Layers
from ..layers.decoder import attention_output, gated_mlp, logits, qkv_weights
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    x = g.embed(embedding)
    for i in range(h.blocks):
        h, b = h.block(i), w.block(i)
        normed = g.layer_norm(x, b.vector("attn_norm.weight", h.width), None, h.eps)
        attended, mlp = attention(g, h, b, normed, rope), gated_mlp(g, h, b, normed, g.swiglu)
        x = g.add(g.add(x, attended), mlp)
    normed = g.layer_norm(g.outputs(x), w.vector("output_norm.weight", h.width), None, h.eps)
    return g.scale(logits(g, h, w, normed, embedding), c.number("logit_scale", 0, 1e6, 1.0) or 1.0)


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope) -> Value:
    """Grouped-query attention; Command R+ normalizes queries and keys, with a separate weight for each head."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    if w.has("attn_q_norm.weight"):
        q = g.layer_norm(q, w.vector("attn_q_norm.weight", h.heads, h.head_dim), None, h.eps)
        k = g.layer_norm(k, w.vector("attn_k_norm.weight", h.kv_heads, h.head_dim), None, h.eps)
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return decoder_keys(s) | {"logit_scale": s.number("logit_scale"), "rope.scaling.type": "none"}


CONVERSION = Conversion(
    classes=("CohereForCausalLM",),
    defaults={"layer_norm_eps": 1e-5, "logit_scale": 0.0625, "rope_theta": 10000.0},
    keys=keys,
)
