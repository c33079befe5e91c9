"""Jamba (AI21 2024, arXiv 2403.19887): Mamba in most blocks, attention without rotary embedding in the others, and a
mixture of experts in every few blocks."""

from __future__ import annotations

from typing import Any

from ..hf.config import Keys, Settings
from ..hf.conversion import MAX_LAYERS, UNTIED, Conversion, decay_rates, decoder_keys, renames, squeezes
from ..layers import Layers
from ..layers.decoder import gated_mlp, mixture_of_experts, pre_norm_decoder, rope_attention
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.recurrent.mamba1 import Mamba1, mamba1
from ..layers.weights import Weights
from ..runtime.graph import Value

DENSE = ("ffn_gate.weight", "ffn_up.weight", "ffn_down.weight")


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h, m = Hyperparameters.read(c, w, hybrid=True), Mamba1.read(c)
    e = Experts.read(c, h) if c.integer("expert_count", 0, 1 << 12, 0) else None

    def mix(h: Hyperparameters, b: Weights, x: Value) -> Value:
        if h.kv_heads:
            return rope_attention(g, h, b, x, None)
        return mamba1(g, h, m, b, x, lambda name, y: g.norm(y, b.vector(f"ssm_{name}_norm.weight", y.width), h.eps))

    def feed_forward(h: Hyperparameters, b: Weights, x: Value) -> Value:
        if e is None or any(b.has(name) for name in DENSE):
            return gated_mlp(g, h, b, x, g.swiglu)
        return mixture_of_experts(g, h, e, b, x, g.swiglu, normalize_weights=False)

    return pre_norm_decoder(g, h, w, vocab, attention=mix, feed_forward=feed_forward)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for periods that are 0."""
    s.find("mamba_conv_bias", "mamba_proj_bias", "use_mamba_kernels", "use_mambapy", "use_associative_scan")
    s.find("expert_layer_period", "expert_layer_offset", "num_logits_to_keep", "calc_logits_for_entire_prompt")
    width, rank, experts = s.integer("hidden_size"), s.find("mamba_dt_rank"), s.integer("num_experts")
    period, offset = s.integer("attn_layer_period"), s.integer("attn_layer_offset")
    if not period:
        raise s.fail("attn_layer_period is 0")
    layers = range(min(s.integer("num_hidden_layers"), MAX_LAYERS))
    return decoder_keys(s) | {
        "attention.head_count_kv": [s.kv_heads if i % period == offset else 0 for i in layers],
        "expert_count": experts if experts > 1 else None,
        "expert_used_count": s.integer("num_experts_per_tok") if experts > 1 else None,
        "vocab_size": s.integer("vocab_size"),
        "ssm.conv_kernel": s.integer("mamba_d_conv"),
        "ssm.state_size": s.integer("mamba_d_state"),
        "ssm.inner_size": s.integer("mamba_expand") * width,
        "ssm.time_step_rank": -(-width // 16) if rank in (None, "auto") else s.integer("mamba_dt_rank"),
    }


STEPS = {
    r"\.conv1d\.weight$": squeezes,
    r"\.A_log$": decay_rates,
    r"\.feed_forward\.experts\.": renames(".mlp.experts."),
}
SIZES: dict[str, Any] = {"mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2, "num_experts": 16}
PERIODS = {"attn_layer_period": 8, "attn_layer_offset": 4, "num_experts_per_tok": 2, "rms_norm_eps": 1e-6}
CONVERSION = Conversion(classes=("JambaForCausalLM",), defaults=UNTIED | SIZES | PERIODS, keys=keys, steps=STEPS)
