"""Hunyuan 0.5B to 7B (Tencent 2025): norms of each head's queries and keys after rotary embedding."""

from __future__ import annotations

from ..hf.config import Keys, Settings, as_number
from ..hf.conversion import UNTIED, Conversion, decoder_keys
from ..layers import Layers
from ..layers.decoder import attention_output, gated_mlp, pre_norm_decoder, qkv_weights
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    return pre_norm_decoder(
        g, h, w, vocab, lambda h, b, x: attention(g, h, b, x, rope), lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu)
    )


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope) -> Value:
    """Grouped-query attention; queries and keys are rotated, then normalized."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    q = g.norm(q, w.vector("attn_q_norm.weight", h.head_dim), h.eps)
    k = g.norm(k, w.vector("attn_k_norm.weight", h.head_dim), h.eps)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. A dynamic scaling with a fixed `alpha` is a larger base frequency (NTK-aware RoPE)."""
    alpha = s.rope.get("alpha")
    if s.rope.get("rope_type") in ("dynamic", "xdrope") and alpha and s.head_dim > 2:
        base = as_number(s, "rope_theta", s.rope.get("rope_theta", 10000.0))
        grown = base * max(as_number(s, "alpha", alpha), 0.0) ** (s.head_dim / (s.head_dim - 2))
        s.rope.update(rope_type="default", rope_theta=grown)
    return decoder_keys(s)


CONVERSION = Conversion(
    classes=("HunYuanDenseV1ForCausalLM", "HunYuanVLForConditionalGeneration"),
    defaults=UNTIED | {"rms_norm_eps": 1e-5, "rope_theta": 10000.0},
    keys=keys,
)
