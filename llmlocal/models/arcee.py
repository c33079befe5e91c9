"""Arcee AFM (Arcee AI 2025): Llama whose MLP has two matrices with squared ReLU between them."""

from __future__ import annotations

from ..hf.conversion import UNTIED, Conversion, llama3_factors
from ..layers import Layers
from ..layers.decoder import pre_norm_decoder, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gpt2 import mlp
from .llama import PERMUTED_QK, llama_keys


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    return pre_norm_decoder(
        g,
        h,
        w,
        vocab,
        attention=lambda h, b, x: rope_attention(g, h, b, x, rope),
        feed_forward=lambda h, b, x: mlp(g, h, b, x, g.relu_squared),
    )


CONVERSION = Conversion(
    classes=("ArceeForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-5, "rope_theta": 10000.0},
    keys=llama_keys,
    steps=PERMUTED_QK,
    extra=llama3_factors,
    activations=("relu2",),
)
