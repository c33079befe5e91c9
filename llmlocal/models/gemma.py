"""Gemma (Gemma Team 2024, arXiv 2403.08295): embeddings scaled by the root of the width, and a gate of GELU."""

from __future__ import annotations

from ..hf.conversion import Conversion, adds, drops
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
    x = g.scale(g.embed(embedding), h.width**0.5)
    for i in range(h.blocks):
        b = w.block(i)
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), rope))
        x = g.add(x, gated(g, h, b, norm(g, h, b, "ffn_norm", x), g.geglu))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def attention(g: Layers, h: Hyper, w: Weights, x: Value, rope: Rope) -> Value:
    """Grouped-query attention with heads that may be wider than the model's width divided by their number."""
    q, k, v = g.linears(x, *queries_keys_values(h, w))
    g.turn(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))


CONVERSION = Conversion(
    classes=("GemmaForCausalLM",),
    defaults={"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "head_dim": 256},
    steps={r"norm\.weight$": adds(1), r"^lm_head\.weight$": drops},
)
