"""Minitron and Nemotron 3 and 4 (NVIDIA 2024, arXiv 2402.16819): layer norms, whose weights folders store less 1,
rotary embedding of a part of each head, and an MLP of two matrices with squared ReLU."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, adds, decoder_keys, rotary_keys
from ..layers import Layers
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gpt2 import mlp, norm
from .phi3 import windowed_decoder

PERIOD = 0  # no block has full attention where files say a window


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""

    def squared(g: Layers, h: Hyperparameters, b: Weights, x: Value) -> Value:
        return mlp(g, h, b, x, g.relu_squared)

    return windowed_decoder(g, c, w, vocab, norm, squared)


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    eps = s.number("norm_eps")
    return (
        decoder_keys(s)
        | rotary_keys(s)
        | {
            "attention.layer_norm_rms_epsilon": None,
            "attention.layer_norm_epsilon": eps,
            "vocab_size": s.integer("vocab_size"),
        }
    )


CONVERSION = Conversion(
    classes=("NemotronForCausalLM",),
    defaults=UNTIED | {"norm_eps": 1e-5, "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "hidden_act": "relu2"},
    keys=keys,
    steps={r"norm\.weight$": adds(1)},
    activations=("relu2",),
)
