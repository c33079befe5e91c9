"""Recurrent blocks between blocks of attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from families.shared import EXPERTS

LFM2 = {"num_hidden_layers": 4, "norm_eps": 1e-5, "conv_L_cache": 3, "conv_bias": False, "tie_word_embeddings": True}
DELTA = {"num_hidden_layers": 4, "head_dim": 16, "linear_conv_kernel_dim": 4, "full_attention_interval": 4}
DELTA |= {"linear_key_head_dim": 16, "linear_value_head_dim": 16, "linear_num_key_heads": 2}
DELTA |= {"linear_num_value_heads": 6, "rms_norm_eps": 1e-6, "partial_rotary_factor": 0.5}
MROPE = {"rope_type": "default", "rope_theta": 1000.0, "partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1]}
QWEN35 = {**DELTA, "rope_parameters": {**MROPE, "mrope_interleaved": True}}
SHARED = {**EXPERTS, "shared_expert_intermediate_size": 40}
NEMOTRON_H = {"model_type": "nemotron_h", "num_hidden_layers": 5, "head_dim": 16, "mlp_hidden_act": "relu2"}
NEMOTRON_H |= {"mamba_num_heads": 6, "mamba_head_dim": 16, "n_groups": 2, "ssm_state_size": 16, "conv_kernel": 4}
NEMOTRON_H |= {"layer_norm_epsilon": 1e-5, "expand": 3, "rope_theta": None}
FALCON_H1 = {"model_type": "falcon_h1", "mamba_n_heads": 6, "mamba_d_head": 16, "mamba_d_ssm": 96, "mamba_n_groups": 2}
FALCON_H1 |= {"mamba_d_state": 16, "mamba_d_conv": 4, "key_multiplier": 0.4, "attention_in_multiplier": 1.5}
FALCON_H1 |= {"attention_out_multiplier": 0.9, "ssm_in_multiplier": 1.25, "ssm_out_multiplier": 0.6}
FALCON_H1 |= {"ssm_multipliers": [0.8, 0.7, 1.2, 0.9, 1.1], "mlp_multipliers": [0.9, 1.3]}
FALCON_H1 |= {"embedding_multiplier": 3.0, "lm_head_multiplier": 0.5, "mamba_norm_before_gate": False}

CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "lfm2": (
        "Lfm2ForCausalLM",
        {
            "model_type": "lfm2",
            **LFM2,
            "layer_types": ["conv", "full_attention", "conv", "full_attention"],
            "block_multiple_of": 8,
            "block_ffn_dim_multiplier": 1.0,
            "block_auto_adjust_ff_dim": True,
        },
    ),
    "lfm3": (
        "Lfm3ForCausalLM",
        {
            "model_type": "lfm3",
            **LFM2,
            "conv_L_cache": 5,
            "head_dim": 16,
            "layer_types": ["conv", "full_attention", "conv", "sliding_attention"],
            "sliding_window": 8,
            "rope_theta": None,
            "rope_parameters": {
                "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.5, "rope_theta": 1000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            },
        },
    ),
    "lfm2moe": (
        "Lfm2MoeForCausalLM",
        {
            "model_type": "lfm2_moe",
            **LFM2,
            **EXPERTS,
            "layer_types": ["full_attention", "conv", "conv", "full_attention"],
            "num_dense_layers": 1,
            "use_expert_bias": True,
            "norm_topk_prob": True,
            "routed_scaling_factor": 1.0,
        },
    ),
    "qwen35": ("Qwen3_5ForCausalLM", {"model_type": "qwen3_5_text", **QWEN35}),
    "qwen35moe": ("Qwen3_5MoeForCausalLM", {"model_type": "qwen3_5_moe_text", **QWEN35, **SHARED}),
    "qwen3next": (
        "Qwen3NextForCausalLM",
        {"model_type": "qwen3_next", **DELTA, **SHARED, "norm_topk_prob": True, "decoder_sparse_step": 1},
    ),
    "jamba": (
        "JambaForCausalLM",
        {
            "model_type": "jamba",
            "num_hidden_layers": 4,
            "attn_layer_period": 4,
            "attn_layer_offset": 3,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "mamba_d_state": 16,
            "mamba_d_conv": 4,
            "mamba_expand": 2,
            "mamba_dt_rank": 6,
            "rope_theta": None,
        },
    ),
    "nemotron_h": ("NemotronHForCausalLM", {**NEMOTRON_H, "hybrid_override_pattern": "M-M-*"}),
    "nemotron_h_moe": (
        "NemotronHForCausalLM",
        {
            **NEMOTRON_H,
            "hybrid_override_pattern": "MEME*",
            "n_routed_experts": 6,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "moe_shared_expert_intermediate_size": 40,
            "moe_latent_size": 16,
            "routed_scaling_factor": 2.5,
        },
    ),
    "falcon-h1": ("FalconH1ForCausalLM", {**FALCON_H1, "tie_word_embeddings": True}),
    "falcon-h1-norm": ("FalconH1ForCausalLM", {**FALCON_H1, "mamba_rms_norm": True}),
    "plamo2": (
        "Plamo2ForCausalLM",
        {
            "model_type": "plamo2",
            "num_hidden_layers": 4,
            "hidden_size_per_head": 8,
            "mamba_step": 2,
            "mamba_enabled": True,
            "mamba_d_state": 16,
            "mamba_d_conv": 4,
            "mamba_num_heads": 6,
        },
    ),
}
