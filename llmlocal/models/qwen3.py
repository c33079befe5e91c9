"""Qwen3 (Yang et al. 2025, arXiv 2505.09388): queries and keys are normed head by head before they rotate."""

from __future__ import annotations

from ..hf.conversion import Conversion
from ..layers import Layers, Rope
from ..layers.decoder import attention_output, gated, logits, norm, queries_keys_values
from ..layers.hyperparameters import Hyper
from ..layers.metadata import Config
from ..layers.rope_scaling import rotation
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong shape."""
    h = Hyper.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rotation(c, w, h.turned, h.context, g.cache.n_ctx), interleaved=False)
    x = g.embed(embedding)
    for i in range(h.blocks):
        b = w.block(i)
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), rope))
        x = g.add(x, gated(g, h, b, norm(g, h, b, "ffn_norm", x), g.swiglu))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def attention(g: Layers, h: Hyper, w: Weights, x: Value, rope: Rope) -> Value:
    """Grouped-query attention of normed heads."""
    q, k, v = g.linears(x, *queries_keys_values(h, w))
    q = g.norm(q, w.vector("attn_q_norm.weight", h.head_dim), h.eps)
    k = g.norm(k, w.vector("attn_k_norm.weight", h.head_dim), h.eps)
    g.turn(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))


CONVERSION = Conversion(
    classes=("Qwen3ForCausalLM",), defaults={"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "head_dim": 128}
)
