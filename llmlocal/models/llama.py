"""Llama (Touvron et al. 2023, arXiv 2302.13971) and what shares its shape. Read this architecture first.

With experts it is Mixtral (Jiang et al. 2024, arXiv 2401.04088).
"""

from __future__ import annotations

from ..config import Config
from ..decoder import attention_output, gated, logits, mixture, norm, queries_keys_values
from ..graph import Value
from ..hyper import Experts, Hyper
from ..layers import Layers, Rope
from ..rope_scaling import rotation
from ..weights import Weights


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong shape."""
    h = Hyper.read(c, w)
    e = Experts.read(c, h) if c.integer("expert_count", 0, 1 << 12, 0) else None
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rotation(c, w, h.turned, h.context, g.cache.n_ctx), interleaved=True)
    x = g.embed(embedding)
    for i in range(h.blocks):
        b = w.block(i)
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), rope))
        n = norm(g, h, b, "ffn_norm", x)
        x = g.add(x, mixture(g, h, e, b, n, g.swiglu, renormed=True) if e else gated(g, h, b, n, g.swiglu))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def attention(g: Layers, h: Hyper, w: Weights, x: Value, rope: Rope) -> Value:
    """Grouped-query attention with rotary positions, biases where the file has them."""
    q, k, v = g.linears(x, *queries_keys_values(h, w))
    g.turn(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))
