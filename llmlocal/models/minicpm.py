"""MiniCPM 1 and 4 (OpenBMB 2024, arXiv 2404.06395): Llama with factors of embeddings, residuals and logits that do not
depend on the width it was tuned with (muP)."""

from __future__ import annotations

import math

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, longrope_factors, longrope_keys
from ..layers import Layers
from ..layers.decoder import gated_mlp, pre_norm_decoder, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .llama import PERMUTED_QK, llama_keys

EMBEDDING, BASE = 12.0, 256  # of files without the keys: the embedding's factor, the width that logits are scaled to


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    out = pre_norm_decoder(
        g,
        h,
        w,
        vocab,
        attention=lambda h, b, x: rope_attention(g, h, b, x, rope),
        feed_forward=lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu),
        embedding_scale=c.number("embedding_scale", 0, 1e6, EMBEDDING) or 1.0,
        residual_scale=c.number("residual_scale", 0, 1e6, 1.4 / math.sqrt(h.blocks)) or 1.0,
    )
    return g.scale(out, 1 / c.number("logit_scale", 1e-6, 1e6, h.width / BASE))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for a mixture of experts."""
    if s.find("num_experts"):
        raise s.fail("a mixture of experts is not supported for this architecture", "")
    s.find("mup_denominator", "use_mup", "sparse_config", "scale_width", "rope_type")
    longrope = longrope_keys(s) if "long_factor" in s.rope else {}
    return (
        llama_keys(s)
        | longrope
        | {
            "embedding_scale": s.number("scale_emb"),
            "residual_scale": s.number("scale_depth") / math.sqrt(max(s.integer("num_hidden_layers"), 1)),
            "logit_scale": s.integer("hidden_size") / max(s.integer("dim_model_base"), 1),
        }
    )


CONVERSION = Conversion(
    classes=("MiniCPMForCausalLM",),
    defaults={"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "scale_emb": 1, "scale_depth": 1.0, "dim_model_base": 1},
    keys=keys,
    steps=PERMUTED_QK,
    extra=longrope_factors,
)
