"""MiniMax-M2 (MiniMax 2025): a mixture of experts in every block, chosen by sigmoid scores with a bias; queries and
keys are normalized over all heads together, and half of each head has rotary embedding."""

from __future__ import annotations

from functools import partial

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, rotary_keys
from ..layers import Layers
from ..layers.hyperparameters import SIGMOID
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from .dots1 import STEPS
from .olmo2 import attention
from .olmoe import mixture_decoder


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    return mixture_decoder(g, c, w, vocab, partial(attention, window=None), normalize_weights=True)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Published configs say `rotary_dim` in place of a factor."""
    rotary = s.integer("rotary_dim", default=s.head_dim)
    s.rope.setdefault("partial_rotary_factor", rotary / s.head_dim)
    own = rotary_keys(s) | {"expert_gating_func": SIGMOID}
    return decoder_keys(s) | own | {"expert_feed_forward_length": s.integer("intermediate_size")}


CONVERSION = Conversion(
    classes=("MiniMaxM2ForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 5e6, "head_dim": 128},
    keys=keys,
    steps=STEPS,
)
