"""AFMoE: Trinity (Arcee AI 2025): norms before and after attention and feed-forward, norms of queries and keys, a gate
on what attention gives; three of four blocks have a sliding window, and they alone rotary embedding; after the first
blocks a mixture of experts with shared ones, chosen by sigmoid scores with a bias."""

from __future__ import annotations

import math

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, cuts, renames, window_keys
from ..layers import Layers
from ..layers.decoder import attention_output, decoder, norm, qkv_weights
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .dots1 import blocks_with_experts, sparse_keys

PERIOD = 4  # the last of so many blocks has full attention


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    all_windows = windows(c, h.blocks, period=PERIOD)
    feed_forward = blocks_with_experts(g, c, h)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        turned = rope if (i + 1) % PERIOD else None
        attended = attention(g, h, b, norm(g, h, b, "attn_norm", x), turned, all_windows[i])
        x = g.add(x, norm(g, h, b, "post_attention_norm", attended))
        return g.add(x, norm(g, h, b, "post_ffw_norm", feed_forward(h, b, norm(g, h, b, "ffn_norm", x))))

    return decoder(g, h, w, vocab, block, embedding_scale=math.sqrt(h.width))


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope | None, window: int | None) -> Value:
    """Grouped-query attention with norms of queries and keys, times the sigmoid of a projection of x."""
    q, k, v, gate = g.linears(x, *qkv_weights(h, w), w.linear("attn_gate", h.q_dim, h.width))
    q = g.norm(q, w.vector("attn_q_norm.weight", h.head_dim), h.eps)
    k = g.norm(k, w.vector("attn_k_norm.weight", h.head_dim), h.eps)
    if rope is not None:
        g.apply_rope(rope, q, k, head_dim=h.head_dim)
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5, window=window)
    return attention_output(g, h, w, g.sigmoid_gate(gate, out))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for what GGUF cannot say of these models."""
    if not s.flag("mup_enabled"):
        raise s.fail("mup_enabled must be true", "")
    if s.integer("global_attn_every_n_layers") != PERIOD or s.text("score_func", default="sigmoid") != "sigmoid":
        raise s.fail(f"global_attn_every_n_layers must be {PERIOD} and score_func sigmoid", "")
    s.values |= {
        "n_shared_experts": s.integer("num_shared_experts"),
        "first_k_dense_replace": s.integer("num_dense_layers"),
        "routed_scaling_factor": s.number("route_scale"),
        "norm_topk_prob": s.flag("route_norm"),
    }
    s.find("num_expert_groups", "num_limited_groups", "load_balance_coeff", "use_grouped_mm")
    return sparse_keys(s) | window_keys(s, period=PERIOD) | {"vocab_size": s.integer("vocab_size")}


CONVERSION = Conversion(
    classes=("AfmoeForCausalLM",),
    defaults=UNTIED
    | {
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "global_attn_every_n_layers": PERIOD,
        "num_shared_experts": 2,
        "num_dense_layers": 1,
        "route_scale": 1.0,
        "route_norm": True,
        "head_dim": 128,
    },
    keys=keys,
    steps={
        r"\.expert_bias$": renames(".expert_bias.bias"),
        r"(?<=experts\.)gate_up_proj$": cuts("gate_proj.weight", "up_proj.weight"),
    },
)
