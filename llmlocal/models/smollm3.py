"""SmolLM3 (Hugging Face 2025): Llama without rotary embedding in every fourth block (NoPE, arXiv 2501.18795)."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion
from ..layers import Layers
from ..layers.decoder import decoder, gated_mlp, norm, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .llama import PERMUTED_QK, llama_keys

NOPE_PERIOD = 4  # the last of every four blocks has no rotary embedding; GGUF has no key for it


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        rope_or_none = rope if (i + 1) % NOPE_PERIOD else None
        x = g.add(x, rope_attention(g, h, b, norm(g, h, b, "attn_norm", x), rope_or_none))
        return g.add(x, gated_mlp(g, h, b, norm(g, h, b, "ffn_norm", x), g.swiglu))

    return decoder(g, h, w, vocab, block)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for another pattern of blocks without RoPE."""
    if any(bool(rotates) != bool((i + 1) % NOPE_PERIOD) for i, rotates in enumerate(s.items("no_rope_layers"))):
        raise s.fail("no_rope_layers is not every fourth, and GGUF has no key for another pattern")
    return llama_keys(s)


CONVERSION = Conversion(
    classes=("SmolLM3ForCausalLM",), defaults={"rms_norm_eps": 1e-6, "rope_theta": 2e6}, keys=keys, steps=PERMUTED_QK
)
