"""Seed-OSS (ByteDance Seed 2025): Qwen2 with heads of their own size; the norm of the MLP has another name."""

from __future__ import annotations

from ..hf.conversion import UNTIED, Conversion
from ..layers import Layers
from ..layers.decoder import decoder, gated_mlp, norm, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        x = g.add(x, rope_attention(g, h, b, norm(g, h, b, "attn_norm", x), rope))
        return g.add(x, gated_mlp(g, h, b, norm(g, h, b, "post_attention_norm", x), g.swiglu))

    return decoder(g, h, w, vocab, block)


CONVERSION = Conversion(
    classes=("SeedOssForCausalLM",), defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "head_dim": 128}
)
