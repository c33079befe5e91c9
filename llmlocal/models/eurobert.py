"""EuroBERT (Boizard et al. 2025, arXiv 2503.05500): Llama whose tokens see the whole text."""

from __future__ import annotations

from functools import partial

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, head_keys, renames
from ..layers import Layers
from ..layers import encoder as blocks
from ..layers.decoder import gated_mlp, pre_norm_decoder, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import ENCODER

KIND = ENCODER


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; what an output matrix would read are the states. Raises BadFileError."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    attention = partial(rope_attention, g, rope=rope)
    return pre_norm_decoder(g, h, w, vocab, attention, partial(gated_mlp, g, activation=g.swiglu))


def word_logits(g: Layers, c: Config, w: Weights, vocab: int, x: Value) -> Value:
    """Logits (outputs, vocab) of the states of masked tokens (outputs, width)."""
    return blocks.word_outputs(g, Hyperparameters.read(c, w), w, vocab, x)


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return decoder_keys(s) | {"attention.causal": False} | head_keys(s)


CONVERSION = Conversion(
    classes=("EuroBertModel", "EuroBertForMaskedLM", "JinaEmbeddingsV5Model"),
    defaults=UNTIED | {"rms_norm_eps": 1e-5, "rope_theta": 250000.0},
    applies=lambda s: s.find("max_window_layers") is None,  # Jina Embeddings 5 Text Small is Qwen3
    keys=keys,
    steps={r"^model\.": renames("")},
)
