"""StableLM 2 and StableLM 3B (Bellagente et al. 2024, arXiv 2402.17834): Llama with layer norms, and rotary embedding
of a quarter of each head. The 12B model has norms of queries and keys, and runs attention and MLP in parallel."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys, rotary_keys
from ..layers import Layers
from ..layers.decoder import decoder, gated_mlp
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .command_r import attention
from .gpt2 import norm


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        normed = norm(g, h, b, "attn_norm", x)
        x = g.add(x, attention(g, h, b, normed, rope))
        normed = norm(g, h, b, "ffn_norm", x) if b.has("ffn_norm.weight") else normed
        return g.add(x, gated_mlp(g, h, b, normed, g.swiglu))

    return decoder(g, h, w, vocab, block, norm)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for norms of single heads, which are not stacked here."""
    if s.flag("qk_layernorm"):
        raise s.fail("qk_layernorm is true, which cannot be converted", "download a GGUF file of the model")
    return decoder_keys(s) | rotary_keys(s) | {"use_parallel_residual": s.flag("use_parallel_residual")}


CONVERSION = Conversion(
    classes=("StableLmForCausalLM", "StableLMEpochForCausalLM", "LlavaStableLMEpochForCausalLM"),
    defaults=UNTIED | {"layer_norm_eps": 1e-5, "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
    keys=keys,
)
