"""Kimi Linear (Kimi Team 2025, arXiv 2510.26692): Kimi Delta Attention, a gated delta rule whose channels forget at
rates of their own, and latent attention without rotary embedding in every fourth block; experts as in DeepSeek-V3."""

from __future__ import annotations

from typing import Any

from ..hf.config import Keys, Settings, as_integer
from ..hf.conversion import MAX_LAYERS, UNTIED, Conversion, decay_rates, decoder_keys, renames
from ..hf.latent import apart, latent_keys
from ..hf.streams import Stream, reshaped
from ..layers import Layers
from ..layers.decoder import pre_norm_decoder
from ..layers.hyperparameters import SIGMOID, Hyperparameters
from ..layers.latent_attention import LatentSizes, latent_attention
from ..layers.metadata import Config
from ..layers.recurrent import channel_gated_delta_rule, silu_short_convs
from ..layers.weights import Weights
from ..runtime.graph import Value
from .deepseek2 import head_sizes
from .dots1 import blocks_with_experts


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w, hybrid=True, head_sizes=head_sizes)
    value = c.integer("attention.value_length", 1, 1 << 14, h.head_dim)
    s = LatentSizes.read(c, h, c.integer("attention.value_length_mla", 1, 1 << 14, value), h.head_dim**-0.5)
    dim, conv = c.integer("kda.head_dim", 1, 1 << 12), c.integer("ssm.conv_kernel", 2, 16)
    if dim % 8:
        raise c.fail(f"{c.arch}.kda.head_dim is {dim}; only multiples of 8 are supported")

    def mix(h: Hyperparameters, b: Weights, x: Value) -> Value:
        if h.kv_heads:
            return latent_attention(g, h, s, b, x, None)
        return delta_attention(g, h, b, x, dim, conv)

    return pre_norm_decoder(g, h, w, vocab, mix, blocks_with_experts(g, c, h, normalize=True))


def delta_attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, dim: int, conv: int) -> Value:
    """Kimi Delta Attention of x (tokens, width) with heads of `dim`, after short convolutions of `conv` inputs."""
    inner = h.heads * dim
    rows = dict.fromkeys(("attn_q", "attn_k", "attn_v"), inner) | {"ssm_f_a": dim, "ssm_g_a": dim, "ssm_beta": h.heads}
    q, k, v, decay, gate, beta = g.linears(x, *(w.linear(name, n, h.width) for name, n in rows.items()))
    taps = [w.vector(f"ssm_conv1d_{name}.weight", inner, 1, conv) for name in "qkv"]
    qkv, alpha = silu_short_convs(g, (q, k, v), taps), g.linear(decay, *w.linear("ssm_f_b", inner, dim))
    rate, bias = w.vector("ssm_a", h.heads, 1), w.vector("ssm_dt.bias", inner)
    out = channel_gated_delta_rule(g, qkv, alpha, beta, rate, bias, dim=dim)
    out = g.norm(out, w.vector("ssm_norm.weight", dim), h.eps)
    out = g.sigmoid_gate(g.linear(gate, *w.linear("ssm_g_b", inner, dim)), out)
    return g.linear(out, *w.linear("attn_output", h.width, inner))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for what GGUF cannot say of these models."""
    s.find("model_max_length", "head_dim", "use_grouped_topk")
    sizes = delta_sizes(s)
    if sizes["num_heads"] != s.integer("num_attention_heads"):
        raise s.fail("num_heads of linear_attn_config differs from num_attention_heads, and GGUF has no key for it", "")
    for name, must in MUST.items():
        if s.find(name) not in (None, must):
            raise s.fail(f"{name} is {s.find(name)!r:.40}, must be {must!r}", "")
    return decoder_keys(s) | {
        "context_length": s.integer("model_max_length", "max_position_embeddings"),
        "attention.head_count_kv": [int(full) for full in full_attention(s)],
        **latent_keys(s),
        "kda.head_dim": sizes["head_dim"],
        "ssm.conv_kernel": sizes["short_conv_kernel_size"],
        "expert_feed_forward_length": s.integer("moe_intermediate_size"),
        "expert_shared_count": s.integer("num_shared_experts"),
        "expert_weights_scale": s.number("routed_scaling_factor"),
        "expert_weights_norm": True,
        "expert_gating_func": SIGMOID,
        "expert_group_count": s.integer("num_expert_group"),
        "expert_group_used_count": s.integer("topk_group"),
        "leading_dense_block_count": dense_blocks(s),
        "vocab_size": s.integer("vocab_size"),
    }


def delta_sizes(s: Settings) -> dict[str, int]:
    """Heads, their size and that of convolutions: in an object as published, or beside the others (transformers 5)."""
    given = s.find("linear_attn_config")
    own = {old: given[old] for old in LINEAR if old in given} if isinstance(given, dict) else {}
    return {old: as_integer(s, old, own.get(old, s.integer(new))) for old, new in LINEAR.items()}


def full_attention(s: Settings) -> list[bool]:
    """Whether each layer has attention."""
    layers, given, kinds = range(s.integer("num_hidden_layers")), s.find("linear_attn_config"), s.items("layer_types")
    listed = given.get("full_attn_layers") if isinstance(given, dict) else None
    if len(layers) > MAX_LAYERS:
        raise s.fail(f"{len(layers)} layers are more than {MAX_LAYERS}")
    if isinstance(listed, list):  # counted from 1
        return [i + 1 in listed for i in layers]
    return [kind == "full_attention" for kind in kinds] or [i > 0 and i % 4 == 0 for i in layers]


def dense_blocks(s: Settings) -> int:
    """How many blocks have an MLP; experts follow in all others. Raises BadFileError for another order."""
    kinds = s.items("mlp_layer_types")
    if kinds != sorted(kinds, key=str):
        raise s.fail("mlp_layer_types has a dense layer after a sparse one, and GGUF has no key for it", "")
    return kinds.count("dense") if kinds else s.integer("first_k_dense_replace")


def with_four_dimensions(_: Settings, x: Stream) -> Stream:
    """Taps of a convolution, (channels, size) or (channels, 1, size), as llama.cpp has them."""
    return reshaped(x, 1, x.shape[0], 1, x.k)


LINEAR = {"num_heads": "linear_num_heads", "head_dim": "linear_head_dim"}
LINEAR |= {"short_conv_kernel_size": "linear_conv_kernel_dim"}
MUST = {"moe_renormalize": True, "moe_router_activation_func": "sigmoid", "moe_layer_freq": 1, "mla_use_nope": True}
STEPS = {
    r"\.[qkv]_conv1d\.weight$": with_four_dimensions,
    r"\.A_log$": decay_rates,
    r"\.dt_bias$": renames(".dt_proj.bias"),
    r"\.e_score_correction_bias$": renames(".e_score_correction.bias"),
    r"\.block_sparse_moe\.(?=(gate|up|down)_proj\.)": renames(".mlp."),  # as transformers writes dense blocks
    r"kv_b_proj(?=\.weight$)": apart,
}
DEFAULTS: dict[str, Any] = {"linear_num_heads": 32, "linear_head_dim": 128, "linear_conv_kernel_dim": 4}
DEFAULTS |= {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
DEFAULTS |= {"num_shared_experts": 1, "num_expert_group": 1, "topk_group": 1, "routed_scaling_factor": 2.446}
DEFAULTS |= {"first_k_dense_replace": 1, "rms_norm_eps": 1e-5, "model_max_length": 1 << 20}
CONVERSION = Conversion(
    classes=("KimiLinearForCausalLM", "KimiLinearModel"), defaults=UNTIED | DEFAULTS, keys=keys, steps=STEPS
)
