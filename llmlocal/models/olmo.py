"""OLMo 1 (Groeneveld et al. 2024, arXiv 2402.00838): Llama with layer norms without weights; queries, keys and values
may be limited."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion
from ..layers import Layers
from ..layers.decoder import attention_output, decoder, gated_mlp, qkv_weights
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .llama import PERMUTED_QK, llama_keys


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)
    most = c.number("attention.clamp_kqv", 0, 1e6, 0.0)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        x = g.add(x, limited_attention(g, h, b, g.unit_layer_norm(x, h.eps), rope, most))
        return g.add(x, gated_mlp(g, h, b, g.unit_layer_norm(x, h.eps), g.swiglu))

    return decoder(g, h, w, vocab, block, lambda g, h, _w, _name, x: g.unit_layer_norm(x, h.eps))


def limited_attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope, most: float) -> Value:
    """Grouped-query attention of queries, keys and values that are limited to -most..most, unless that is 0."""
    q, k, v = (g.limited(x, most) for x in g.linears(x, *qkv_weights(h, w)))
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    most = s.number("clip_qkv", default=0.0)
    return llama_keys(s) | {"attention.layer_norm_epsilon": 1e-5, "attention.clamp_kqv": most or None}


CONVERSION = Conversion(
    classes=("OlmoForCausalLM",), defaults=UNTIED | {"rope_theta": 10000.0}, keys=keys, steps=PERMUTED_QK
)
