"""EmbeddingGemma (Vera et al. 2025, arXiv 2509.20354): Gemma 3 whose tokens see the text on both sides, within a window
in most blocks; two matrices follow the pooled states."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion
from ..hf.dense_modules import dense_keys, dense_layers
from ..layers.encoder import dense_projection
from . import ENCODER, gemma3

KIND = ENCODER
build = gemma3.build  # what its output matrix would read are the states
projection = dense_projection


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    if not s.flag("use_bidirectional_attention"):
        raise s.fail("Gemma3TextModel without use_bidirectional_attention is not supported", "")
    return gemma3.keys(s) | {"attention.causal": False} | dense_keys(s)


CONVERSION = Conversion(
    classes=("Gemma3TextModel",),
    defaults=gemma3.CONVERSION.defaults,
    keys=keys,
    steps=gemma3.CONVERSION.steps,
    extra=dense_layers,
    modules=("Dense",),
    activations=gemma3.CONVERSION.activations,
)
