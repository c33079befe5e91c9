"""Phi-1, Phi-1.5 and Phi-2 (Gunasekar et al. 2023, arXiv 2306.11644): attention and an MLP with GELU run in parallel on
the same layer norm; part of each head has rotary embedding, and every projection has a bias, the output too."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, rotary_keys
from ..hf.settings_check import TANH_GELU
from ..layers import Layers
from ..layers.decoder import decoder, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gpt2 import mlp, norm


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        normed = norm(g, h, b, "attn_norm", x)
        return g.add(g.add(x, rope_attention(g, h, b, normed, rope)), mlp(g, h, b, normed))

    return decoder(g, h, w, vocab, block, norm)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for norms of queries and keys, which GGUF's phi2 does not have."""
    if s.flag("qk_layernorm"):
        raise s.fail("qk_layernorm is true, and GGUF has no tensors for it", "")
    return decoder_keys(s) | rotary_keys(s) | {"tokenizer.ggml.add_bos_token": False}


CONVERSION = Conversion(
    classes=("PhiForCausalLM",),
    defaults=UNTIED | {"layer_norm_eps": 1e-5, "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    keys=keys,
    activations=TANH_GELU,
)
