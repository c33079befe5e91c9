"""Granite 3 and 4 without experts (Granite Team 2024): Llama with scale factors for embeddings, scores,
residuals and logits."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion
from ..layers import Layers
from ..layers.decoder import attention_output, gated_mlp, logits, norm, qkv_weights
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .llama import PERMUTED_QK, llama_keys


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    score_scale = c.number("attention.scale", 0, 1e6, 0.0) or h.head_dim**-0.5
    residual_scale = c.number("residual_scale", 0, 1e6, 1.0) or 1.0
    x = g.scale(g.embed(embedding), c.number("embedding_scale", 0, 1e6, 1.0) or 1.0)
    for i in range(h.blocks):
        b = w.block(i)
        x = g.add(x, g.scale(attention(g, h, b, norm(g, h, b, "attn_norm", x), rope, score_scale), residual_scale))
        x = g.add(x, g.scale(gated_mlp(g, h, b, norm(g, h, b, "ffn_norm", x), g.swiglu), residual_scale))
    out = logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)
    return g.scale(out, 1 / c.number("logit_scale", 1e-6, 1e6))


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope, scale: float) -> Value:
    """Grouped-query attention; the file gives the scale of the scores."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=scale))


def keys(s: Settings) -> Keys:
    """Metadata from config.json, with Granite's four scale factors."""
    scales = {
        "attention.scale": "attention_multiplier",
        "embedding_scale": "embedding_multiplier",
        "residual_scale": "residual_multiplier",
        "logit_scale": "logits_scaling",
    }
    return llama_keys(s) | {key: s.number(name, default=1.0) for key, name in scales.items()}


CONVERSION = Conversion(
    classes=("GraniteForCausalLM",),
    defaults={"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
    keys=keys,
    steps=PERMUTED_QK,
)
