"""Qwen3-30B-A3B and -235B-A22B (Yang et al. 2025, arXiv 2505.09388): Qwen3 with a mixture of experts in every block."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys
from ..layers import Layers
from ..layers.decoder import attention_output, logits, mixture_of_experts, norm, qkv_weights
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    x = g.embed(embedding)
    for i in range(h.blocks):
        b = w.block(i)
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), rope))
        x = g.add(x, mixture_of_experts(g, h, e, b, norm(g, h, b, "ffn_norm", x), g.swiglu, normalize_weights=True))
    return logits(g, h, w, norm(g, h, w, "output_norm", g.outputs(x)), embedding)


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope) -> Value:
    """Grouped-query attention with norms of queries and keys."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    q = g.norm(q, w.vector("attn_q_norm.weight", h.head_dim), h.eps)
    k = g.norm(k, w.vector("attn_k_norm.weight", h.head_dim), h.eps)
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    return attention_output(g, h, w, g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for expert weights that are not normalized."""
    if not s.flag("norm_topk_prob"):
        raise s.fail("norm_topk_prob is not true, and GGUF has no key for it")
    return decoder_keys(s) | {"expert_feed_forward_length": s.integer("moe_intermediate_size")}


CONVERSION = Conversion(
    classes=("Qwen3MoeForCausalLM",),
    defaults={"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "head_dim": 128},
    keys=keys,
)
