"""Nomic Embed 1 and 1.5 (Nussbaum et al. 2024, arXiv 2402.01613): BERT with rotary embedding and SwiGLU, no biases."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys
from ..layers import Layers
from ..layers import encoder as blocks
from ..layers.decoder import gated_mlp, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import ENCODER

KIND = ENCODER


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the states (tokens, width). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    x = blocks.norm(g, h, w, "token_embd_norm", blocks.embedding(g, h, w, vocab))
    return blocks.post_norm_encoder(
        g, h, w, x, lambda h, b, x: rope_attention(g, h, b, x, rope), lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu)
    )


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for settings that GGUF cannot say."""
    fixed = {"activation_function": "swiglu", "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False}
    fixed |= {"prenorm": False, "causal": False, "rotary_emb_scale_base": None, "moe_every_n_layers": 0}
    for name, value in fixed.items():
        if (given := s.find(name)) not in (None, value):
            raise s.fail(f"{name} is {given!r:.40}, which is not supported", "")
    # As in llama.cpp: the models that state 8192 positions were trained on 2048, beyond which they scale RoPE.
    context = min(s.integer("n_positions", "max_position_embeddings"), 2048)
    types = {"tokenizer.ggml.token_type_count": s.integer("type_vocab_size", default=1)}
    return decoder_keys(s) | {"context_length": context, "attention.causal": False} | types


CONVERSION = Conversion(
    classes=("NomicBertModel",), defaults={"rotary_emb_base": 1000.0}, keys=keys, activations=("silu", "swiglu")
)
