"""Qwen3 (Yang et al. 2025, arXiv 2505.09388): Qwen2 with norms of each head's queries and keys instead of biases."""

from __future__ import annotations

from ..hf.conversion import Conversion
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


def attention(
    g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope | None, window: int | None = None
) -> Value:
    """Grouped-query attention with norms of queries and keys, which are not rotated without `rope`.

    A token sees the last `window` tokens, all by default.
    """
    q, k, v = g.linears(x, *qkv_weights(h, w))
    q = g.norm(q, w.vector("attn_q_norm.weight", h.head_dim), h.eps)
    k = g.norm(k, w.vector("attn_k_norm.weight", h.head_dim), h.eps)
    if rope is not None:
        g.apply_rope(rope, q, k, head_dim=h.head_dim)
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5, window=window)
    return attention_output(g, h, w, out)


CONVERSION = Conversion(
    classes=("Qwen3ForCausalLM", "Qwen3Model"),
    defaults={"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "head_dim": 128},
    tied=False,
)
