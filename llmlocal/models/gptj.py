"""GPT-J 6B (EleutherAI 2021): attention and MLP run in parallel on the same layer norm, and part of each head has
rotary embedding, in interleaved pairs. llama.cpp does not run it, but names its tensors and keys."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys
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
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        normed = norm(g, h, b, "attn_norm", x)
        attended, made = rope_attention(g, h, b, normed, rope), mlp(g, h, b, normed)
        return g.add(g.add(x, attended), made)

    return decoder(g, h, w, vocab, block, norm)


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    rotary = {"rope.dimension_count": s.integer("rotary_dim", default=s.head_dim)}
    s.note("llama.cpp does not run this architecture")
    return {"feed_forward_length": 4 * s.integer("n_embd")} | decoder_keys(s) | rotary


CONVERSION = Conversion(
    classes=("GPTJForCausalLM",),
    defaults=UNTIED | {"layer_norm_epsilon": 1e-5, "rotary_dim": 64},
    keys=keys,
    activations=TANH_GELU,
)
