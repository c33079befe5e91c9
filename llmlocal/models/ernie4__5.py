"""ERNIE 4.5 without experts (Baidu 2025): Llama whose heads have a size of their own."""

from __future__ import annotations

from functools import partial

from ..hf.conversion import Conversion, cuts, renames
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
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    attention = partial(rope_attention, g, rope=rope)
    return pre_norm_decoder(g, h, w, vocab, attention, partial(gated_mlp, g, activation=g.swiglu))


DEFAULTS = {"rms_norm_eps": 1e-5, "rope_theta": 500000.0, "head_dim": 128}
STEPS = {r"^ernie\.": renames("model."), r"up_gate_proj": cuts("gate_proj", "up_proj")}
CONVERSION = Conversion(classes=("Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"), defaults=DEFAULTS, steps=STEPS)
