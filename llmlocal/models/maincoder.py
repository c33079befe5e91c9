"""Maincoder 1B (Maincode 2025): Llama with norms of queries and keys that follow the rotary embedding."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys
from ..layers import Layers
from ..layers.decoder import gated_mlp, pre_norm_decoder
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .hunyuan_dense import attention


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    return pre_norm_decoder(
        g, h, w, vocab, lambda h, b, x: attention(g, h, b, x, rope), lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu)
    )


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return decoder_keys(s) | {"rope.dimension_count": s.head_dim}


CONVERSION = Conversion(
    classes=("MaincoderForCausalLM",), defaults={"rms_norm_eps": 1e-5, "rope_theta": 1e6}, keys=keys
)
