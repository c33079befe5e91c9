"""GLM-4 0414 (Zhipu AI 2025): norms before and after attention and MLP, gate and up projections in one matrix, and
rotary embedding of half of each head, in interleaved pairs."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, rotary_keys
from ..layers import Layers
from ..layers.decoder import decoder, norm, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .phi3 import mlp


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        attended = rope_attention(g, h, b, norm(g, h, b, "attn_norm", x), rope)
        x = g.add(x, norm(g, h, b, "post_attention_norm", attended))
        return g.add(x, norm(g, h, b, "post_ffw_norm", mlp(g, h, b, norm(g, h, b, "ffn_norm", x))))

    return decoder(g, h, w, vocab, block)


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return decoder_keys(s) | rotary_keys(s)


VISION = ("Glm4vForConditionalGeneration", "GlmOcrForConditionalGeneration")
CONVERSION = Conversion(
    classes=("Glm4ForCausalLM", *VISION),
    defaults=UNTIED | {"rms_norm_eps": 1.5625e-7, "rope_theta": 10000.0, "head_dim": 128, "partial_rotary_factor": 0.5},
    keys=keys,
)
