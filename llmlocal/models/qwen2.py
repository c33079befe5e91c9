"""Qwen2 (Yang et al. 2024, arXiv 2407.10671), Qwen1.5 and Qwen2.5, and models distilled into them.

Llama with biases of queries, keys and values, and RoPE over the two halves of a head (NeoX order).
"""

from __future__ import annotations

from functools import partial

from ..hf.conversion import UNTIED, Conversion
from ..layers import Layers
from ..layers.decoder import gated_mlp, pre_norm_decoder, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    attention = partial(rope_attention, g, rope=rope)
    return pre_norm_decoder(g, h, w, vocab, attention, partial(gated_mlp, g, activation=g.swiglu))


CONVERSION = Conversion(
    classes=("Qwen2ForCausalLM", "Qwen2Model", "KORMoForCausalLM", "DotsOCRForCausalLM"),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
)
