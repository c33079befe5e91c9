"""Granite 3 and 4 without experts (Granite Team 2024): Llama with scale factors for embeddings, scores,
residuals and logits."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion
from ..layers import Layers
from ..layers.decoder import Sublayer, gated_mlp, pre_norm_decoder, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .llama import PERMUTED_QK, llama_keys


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    return scaled_decoder(g, c, h, w, vocab, lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu))


def scaled_decoder(g: Layers, c: Config, h: Hyperparameters, w: Weights, vocab: int, feed_forward: Sublayer) -> Value:
    """Logits (outputs, vocab) of a Llama decoder with Granite's four scale factors."""
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    score_scale = c.number("attention.scale", 0, 1e6, 0.0) or h.head_dim**-0.5
    out = pre_norm_decoder(
        g,
        h,
        w,
        vocab,
        attention=lambda h, b, x: rope_attention(g, h, b, x, rope, scale=score_scale),
        feed_forward=feed_forward,
        embedding_scale=c.number("embedding_scale", 0, 1e6, 1.0) or 1.0,
        residual_scale=c.number("residual_scale", 0, 1e6, 1.0) or 1.0,
    )
    return g.scale(out, 1 / c.number("logit_scale", 1e-6, 1e6))


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
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
    keys=keys,
    steps=PERMUTED_QK,
)
