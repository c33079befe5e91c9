"""Jais 2 (Inception 2025): layer norms and biases, rotary embedding, an MLP of two matrices with squared ReLU."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys
from .nemotron import build

__all__ = ["CONVERSION", "build"]
PERIOD = 0  # no block has full attention where files say a window


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return decoder_keys(s) | {"rope.dimension_count": s.head_dim}


CONVERSION = Conversion(
    classes=("Jais2ForCausalLM",),
    defaults=UNTIED | {"layer_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "relu2"},
    keys=keys,
    activations=("relu2",),
)
