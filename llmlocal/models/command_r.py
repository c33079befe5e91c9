"""Command R (Cohere 2024): attention and MLP run in parallel on the same layer norm; no biases."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys
from ..layers import Layers
from ..layers.decoder import attention_output, decoder, gated_mlp, qkv_weights
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=True)

    def block(_: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        normed = norm(g, h, b, "attn_norm", x)
        attended, mlp = attention(g, h, b, normed, rope), gated_mlp(g, h, b, normed, g.swiglu)
        return g.add(g.add(x, attended), mlp)

    return g.scale(decoder(g, h, w, vocab, block, norm), logit_scale(c))


def norm(g: Layers, h: Hyperparameters, w: Weights, name: str, x: Value) -> Value:
    """Layer norm of whole tokens, without a bias."""
    return g.layer_norm(x, w.vector(f"{name}.weight", h.width), None, h.eps)


def logit_scale(c: Config) -> float:
    """The factor of logits; 0 in a file means none."""
    return c.number("logit_scale", 0, 1e6, 1.0) or 1.0


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope) -> Value:
    """Grouped-query attention; Command R+ normalizes queries and keys, with a separate weight for each head."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    if w.has("attn_q_norm.weight"):
        q = g.layer_norm(q, w.vector("attn_q_norm.weight", h.heads, h.head_dim), None, h.eps)
        k = g.layer_norm(k, w.vector("attn_k_norm.weight", h.kv_heads, h.head_dim), None, h.eps)
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    return decoder_keys(s) | {"logit_scale": s.number("logit_scale"), "rope.scaling.type": "none"}


CONVERSION = Conversion(
    classes=("CohereForCausalLM",),
    defaults={"layer_norm_eps": 1e-5, "logit_scale": 0.0625, "rope_theta": 10000.0},
    keys=keys,
)
