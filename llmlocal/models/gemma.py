"""Gemma (Gemma Team 2024, arXiv 2403.08295): embeddings scaled by sqrt(width), GeGLU."""

from __future__ import annotations

from functools import partial

from ..hf.conversion import Conversion, adds, drops_if_tied
from ..hf.settings_check import TANH_GELU
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
    mlp = partial(gated_mlp, g, activation=g.geglu)
    attention = partial(rope_attention, g, rope=rope)
    return pre_norm_decoder(g, h, w, vocab, attention, mlp, embedding_scale=h.width**0.5)


DEFAULTS = {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "head_dim": 256}
STEPS = {r"norm\.weight$": adds(1), r"^lm_head\.weight$": drops_if_tied(llama_cpp_reads_it=False)}
CONVERSION = Conversion(classes=("GemmaForCausalLM",), defaults=DEFAULTS, steps=STEPS, activations=TANH_GELU)
