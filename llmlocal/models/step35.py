"""Step 3.5 Flash (StepFun 2026): norms of queries and keys, a gate for each head of what attention gives; blocks with a
sliding window have more heads and a RoPE base of their own, the others rotate half of each head; after the first blocks
a mixture of experts with a shared expert, chosen by sigmoid scores, with limits of SwiGLU in the last blocks."""

from __future__ import annotations

from functools import partial

from ..hf.config import Keys, Settings, as_integer, as_number
from ..hf.conversion import UNTIED, Conversion, adds, decoder_keys, llama3_factors, renames
from ..layers import Layers
from ..layers.decoder import (
    Block,
    Head,
    attention_output,
    decoder,
    gated_mlp,
    head,
    mixture_of_experts,
    norm,
    qkv_weights,
    shared_expert,
    without_predicting,
)
from ..layers.hyperparameters import SIGMOID, Experts, Hyperparameters, swiglu_limits, windows
from ..layers.metadata import Config
from ..layers.moe import scale_by_sigmoid
from ..layers.rope import Rope
from ..layers.rope_scaling import part_rope, unscaled_rope
from ..layers.weights import Weights
from ..runtime.graph import Value
from .jamba import DENSE

PERIOD = 0  # of files that do not say which blocks have a window, all have


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    return decoder(g, without_predicting(c, h), w, vocab, blocks(g, c, w, h), made_normed=False)


def predict(g: Layers, c: Config, w: Weights, vocab: int) -> Head:
    """Record the first block that predicts a further token. Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    return head(g, h, c, w, vocab, blocks(g, c, w, h), made_normed=False)


def blocks(g: Layers, c: Config, w: Weights, h: Hyperparameters) -> Block:
    """All blocks, by their numbers. Raises BadFileError for wrong metadata."""
    all_windows = windows(c, h.blocks, period=PERIOD)
    limits = [swiglu_limits(c, f"swiglu_clamp_{kind}", h.blocks) for kind in ("exp", "shexp")]
    e = Experts.read(c, h, gating=SIGMOID)
    normalize = c.flag("expert_weights_norm", False)
    (
        c.integer("leading_dense_block_count", 0, h.blocks, 0),
        c.integer("moe_every_n_layers", 0, h.blocks, 0),
    )  # tensors say it
    full = g.rope(part_rope(c, w, h.rotary_dim // 4 * 2, h.rotary_dim), interleaved=False)
    base = c.number("rope.freq_base_swa", 1e-3, 1e12, 10000.0)
    local = g.rope(unscaled_rope(h.rotary_dim, base), interleaved=False)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        window = all_windows[i]
        routed, shared = (partial(g.swiglu_limited, most=each[i]) for each in limits)
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), local if window else full, window))
        normed = norm(g, h, b, "ffn_norm", x)
        if any(b.has(name) for name in DENSE):
            return g.add(x, gated_mlp(g, h, b, normed, shared))
        out = mixture_of_experts(g, h, e, b, normed, routed, normalize_weights=normalize)
        return g.add(x, g.add(out, shared_expert(g, h, e, b, normed, shared)))

    return block


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope, window: int | None) -> Value:
    """Grouped-query attention with norms of queries and keys; each head times the sigmoid of a number of x."""
    q, k, v, gate = g.linears(x, *qkv_weights(h, w), w.linear("attn_gate", h.heads, h.width))
    q, k = (g.norm(x, w.vector(f"attn_{name}_norm.weight", h.head_dim), h.eps) for name, x in (("q", q), ("k", k)))
    g.apply_rope(rope, q, k, head_dim=h.head_dim)
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5, window=window)
    return attention_output(g, h, w, scale_by_sigmoid(g, out, gate))


def keys(s: Settings) -> Keys:
    """Metadata from config.json, whose lists may have elements for MTP's blocks. Raises BadFileError for wrong ones."""
    count, bases = s.integer("num_hidden_layers"), s.find("rope_theta")
    if isinstance(bases, list) and len(bases) > 1:
        s.values |= {"rope_theta": bases[0], "rope_local_base_freq": bases[1]}
    slides = [kind == "sliding_attention" for kind in s.items("layer_types")[:count]]
    parts = [as_number(s, "partial_rotary_factors", part) for part in s.items("partial_rotary_factors")[:count]]
    if len(slides) != count or parts != [1.0 if here else 0.5 for here in slides]:
        raise s.fail("partial_rotary_factors must be 1 in layers with sliding attention, and 0.5 in all others", "")
    own, names = s.find("attention_other_setting"), ("num_attention_heads", "num_attention_groups")
    heads, kv_heads = counts = [s.integer(name) for name in names]
    sliding = (
        [as_integer(s, n, own.get(n, here)) for n, here in zip(names, counts, strict=True)]
        if isinstance(own, dict)
        else counts
    )
    sparse = sorted(int(i) for i in s.text("moe_layers_enum").split(",") if i.strip().isdecimal() and len(i) < 10)
    s.find(
        "yarn_only_types",
        "use_head_wise_attn_gate",
        "use_moe",
        "use_moe_router_bias",
        "need_fp32_gate",
        "moe_router_activation",
    )
    limits = {key: [as_number(s, name, n or 0.0) for n in s.items(name)[:count]] for key, name in LIMITS.items()}
    return (
        decoder_keys(s)
        | {key: values for key, values in limits.items() if values}
        | {
            "attention.head_count": [sliding[0] if here else heads for here in slides],
            "attention.head_count_kv": [sliding[1] if here else kv_heads for here in slides],
            "attention.sliding_window": s.integer("sliding_window"),
            "attention.sliding_window_pattern": slides,
            "expert_count": s.integer("moe_num_experts"),
            "expert_used_count": s.integer("moe_top_k"),
            "expert_feed_forward_length": s.integer("moe_intermediate_size"),
            "expert_shared_feed_forward_length": s.integer("share_expert_dim"),
            "expert_weights_scale": s.number("moe_router_scaling_factor", default=1.0),
            "expert_weights_norm": s.flag("norm_expert_weight", default=True),
            "leading_dense_block_count": sparse[0] if sparse else 0,
            "moe_every_n_layers": s.integer("moe_every_n_layer", default=1),
        }
    )


def of_predictor(s: Settings) -> Keys:
    """What lists say of the blocks that predict further tokens: their elements behind those of the others."""
    at, own = s.integer("num_hidden_layers"), s.find("attention_other_setting")
    slides = s.items("layer_types")[at : at + 1] == ["sliding_attention"]
    more = own if slides and isinstance(own, dict) else {}
    heads, kv_heads = (
        as_integer(s, name, more.get(name, s.integer(name))) for name in ("num_attention_heads", "num_attention_groups")
    )
    limits = {
        key: next((as_number(s, name, n or 0.0) for n in s.items(name)[at:]), 0.0) for key, name in LIMITS.items()
    }
    return limits | {
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.sliding_window_pattern": slides,
    }


LIMITS = {"swiglu_clamp_exp": "swiglu_limits", "swiglu_clamp_shexp": "swiglu_limits_shared"}
CONVERSION = Conversion(
    classes=("Step3p5ForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "head_dim": 128},
    keys=keys,
    of_predictor=of_predictor,
    steps={
        r"\.transformer\.": renames("."),
        r"shared_head\.output\.weight$": renames("shared_head.head.weight"),
        r"norm\.weight$": adds(1),
        r"\.moe\.router_bias$": renames(".moe.router_bias.bias"),
    },
    extra=lambda s: llama3_factors(s, half=True),
)
