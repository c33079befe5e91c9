"""Laguna (poolside 2026): norms of queries and keys, softplus gates of what attention gives, for each head or number;
in XS three of four blocks have a sliding window, and more heads and a RoPE of their own; after the first blocks a
mixture of experts with a shared one, chosen by sigmoid scores with a bias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..hf.config import Keys, Settings, as_integer, as_number
from ..hf.conversion import UNTIED, Conversion, decoder_keys, renames
from ..layers import Layers
from ..layers.decoder import (
    attention_output,
    decoder,
    gated_mlp,
    mixture_of_experts,
    norm,
    qkv_weights,
    shared_expert,
)
from ..layers.hyperparameters import SIGMOID, Experts, Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.moe import scale_parts
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters, unscaled_rope
from ..layers.weights import Weights
from ..runtime.graph import Value

PERIOD = 4  # one of so many blocks has full attention in files that do not say which: the first


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h, gating=SIGMOID)
    normalize, all_windows = c.flag("expert_weights_norm", True), windows_of(c, h.blocks)
    c.integer("leading_dense_block_count", 0, h.blocks, 0)  # tensors say it
    full = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    size, base = c.integer("rope.dimension_count_swa", 2, 1 << 16, h.head_dim), c.number("rope.freq_base", 1e-3, 1e12)
    local = g.rope(unscaled_rope(size, c.number("rope.freq_base_swa", 1e-3, 1e12, base)), interleaved=False)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        window = all_windows[i]
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), local if window else full, window))
        normed = norm(g, h, b, "ffn_norm", x)
        if not b.has("ffn_gate_inp.weight"):
            return g.add(x, gated_mlp(g, h, b, normed, g.swiglu))
        routed = mixture_of_experts(g, h, e, b, normed, g.swiglu, normalize_weights=normalize)
        return g.add(x, g.add(routed, shared_expert(g, h, e, b, normed, g.swiglu)))

    return decoder(g, h, w, vocab, block)


def windows_of(c: Config, blocks: int) -> list[int | None]:
    """The sliding window of each block in tokens, None for full attention. Raises BadFileError."""
    if c.flags("attention.sliding_window_pattern", blocks) is not None:
        return windows(c, blocks, period=PERIOD)
    window = c.integer("attention.sliding_window", 0, 1 << 31, 0)
    period = c.integer("attention.sliding_window_pattern", 1, 1 << 12, PERIOD)
    return [window if window and i % period else None for i in range(blocks)]


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope, window: int | None) -> Value:
    """Grouped-query attention with norms of queries and keys; what it gives times the softplus of a projection of x."""
    gates = w.table("attn_gate.weight", h.width)
    if gates.rows not in (h.heads, h.q_dim):
        raise w.fail(f"tensor '{gates.name}' has {gates.rows} rows, must have {h.heads} or {h.q_dim}")
    q, k, v, gate = g.linears(x, *qkv_weights(h, w), (gates, None))
    q, k = (g.norm(x, w.vector(f"attn_{name}_norm.weight", h.head_dim), h.eps) for name, x in (("q", q), ("k", k)))
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5, window=window)
    gate = g.softplus(gate)
    return attention_output(g, h, w, scale_parts(g, out, gate) if gates.rows == h.heads else g.multiply(out, gate))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for what GGUF cannot say of these models."""
    if s.number("moe_router_logit_softcapping", default=0.0) or s.flag("moe_apply_router_weight_on_input"):
        raise s.fail("moe_router_logit_softcapping and moe_apply_router_weight_on_input are not supported", "")
    count, mlps = s.integer("num_hidden_layers"), s.items("mlp_layer_types")
    dense = next((i for i, kind in enumerate(mlps) if kind != "dense"), len(mlps)) if mlps else 1
    if mlps and mlps != ["dense"] * dense + ["sparse"] * (count - dense):
        raise s.fail("mlp_layer_types must be dense in the first layers, and sparse in all others", "")
    s.find("gating", "gating_types")  # the tensors say it
    heads, slides = s.items("num_attention_heads_per_layer"), [k == "sliding_attention" for k in s.items("layer_types")]
    out = decoder_keys(s) | {
        "expert_feed_forward_length": s.integer("moe_intermediate_size"),
        "expert_shared_feed_forward_length": s.integer("shared_expert_intermediate_size"),
        "expert_gating_func": SIGMOID,
        "expert_weights_norm": True,
        "expert_weights_scale": s.number("moe_routed_scaling_factor", default=1.0),
        "leading_dense_block_count": dense,
        "rope.dimension_count": rotary_dim(s, s.rope),
        "vocab_size": s.integer("vocab_size"),
    }
    if heads:
        out["attention.head_count"] = [as_integer(s, "num_attention_heads_per_layer", each) for each in heads]
    if any(slides):
        out["attention.sliding_window"] = s.integer("sliding_window")
        out |= {"attention.sliding_window_pattern": slides, "rope.dimension_count_swa": rotary_dim(s, s.local_rope)}
    return out


def rotary_dim(s: Settings, rope: Mapping[str, Any]) -> int:
    """How many values of a head are rotated."""
    return int(s.head_dim * as_number(s, "partial_rotary_factor", rope.get("partial_rotary_factor", 1.0)))


ROPE = {
    "full_attention": {"rope_type": "default", "rope_theta": 500000.0, "partial_rotary_factor": 0.5},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
}
CONVERSION = Conversion(
    classes=("LagunaForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "head_dim": 128, "sliding_window": 512, "rope_parameters": ROPE},
    keys=keys,
    steps={
        r"\.self_attn\.g_proj\.": renames(".self_attn.gate_proj."),
        r"\.mlp\.(experts|gate)\.e_score_correction_bias$": renames(".mlp.gate.e_score_correction.bias"),
    },
    named_as="step35",
)
