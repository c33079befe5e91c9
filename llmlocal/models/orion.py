"""Orion 14B (OrionStar 2024, arXiv 2401.12246): Llama with layer norms, whose epsilon its folders call that of an RMS
norm."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys
from ..layers import Layers
from ..layers.decoder import gated_mlp, pre_norm_decoder, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gpt2 import norm


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    return pre_norm_decoder(
        g,
        h,
        w,
        vocab,
        lambda h, b, x: rope_attention(g, h, b, x, rope),
        lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu),
        every_norm=norm,
    )


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return decoder_keys(s) | {
        "attention.layer_norm_rms_epsilon": None,
        "attention.layer_norm_epsilon": s.number("rms_norm_eps"),
        "tensor_data_layout": "Meta AI original pth",
    }


CONVERSION = Conversion(
    classes=("OrionForCausalLM",), defaults=UNTIED | {"rms_norm_eps": 1e-5, "rope_theta": 10000.0}, keys=keys
)
