"""StarCoder 2 (Lozhkov et al. 2024, arXiv 2402.19173): layer norms, biases, an MLP of two matrices with GELU, and a
sliding window in every block."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys, plain_window_keys
from ..hf.settings_check import TANH_GELU
from ..layers import Layers
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gpt2 import mlp, norm
from .phi3 import windowed_decoder

PERIOD = 0  # no block has full attention where files say a window


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    return windowed_decoder(g, c, w, vocab, norm, mlp)


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return decoder_keys(s) | plain_window_keys(s)


CONVERSION = Conversion(
    classes=("Starcoder2ForCausalLM",),
    defaults={"norm_epsilon": 1e-5, "rope_theta": 10000.0},
    keys=keys,
    activations=TANH_GELU,
)
