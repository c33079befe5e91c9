"""Latent attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from families.shared import GROUPS, LONGROPE, MINISTRAL, YARN

LATENT = {"kv_lora_rank": 32, "qk_nope_head_dim": 24, "qk_rope_head_dim": 8, "v_head_dim": 16}
LATENT |= {"num_key_value_heads": 4}
KIMI_DELTA = {"full_attn_layers": [3, 5], "kda_layers": [1, 2, 4], "head_dim": 16, "num_heads": 4}
KIMI_DELTA["short_conv_kernel_size"] = 4
KIMI: dict[str, Any] = {"rope_theta": None, "num_expert_group": 1, "topk_group": 1}
KIMI |= {"moe_router_activation_func": "sigmoid", "moe_layer_freq": 1, "use_grouped_topk": True}
MSCALE = YARN | {"beta_fast": 32.0, "beta_slow": 1.0, "mscale": 0.7, "mscale_all_dim": 0.7, "rope_theta": 1000.0}

CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "youtu": ("YoutuForCausalLM", {"model_type": "youtu", **LATENT, "q_lora_rank": 20, "pad_token_id": None}),
    "deepseek2-lite": (
        "DeepseekV2ForCausalLM",
        {
            "model_type": "deepseek_v2",
            **LATENT,
            **GROUPS,
            "q_lora_rank": None,
            "n_group": 1,
            "topk_group": 1,
            "topk_method": "greedy",
            "norm_topk_prob": False,
            "scoring_func": "softmax",
            "routed_scaling_factor": 1.0,
            "rope_parameters": MSCALE,
        },
    ),
    "deepseek2-v2": (
        "DeepseekV2ForCausalLM",
        {
            "model_type": "deepseek_v2",
            **LATENT,
            **GROUPS,
            "q_lora_rank": 20,
            "topk_method": "group_limited_greedy",
            "norm_topk_prob": False,
            "scoring_func": "softmax",
            "routed_scaling_factor": 4.0,
        },
    ),
    "deepseek2-v3": (
        "DeepseekV3ForCausalLM",
        {
            "model_type": "deepseek_v3",
            **LATENT,
            **GROUPS,
            "q_lora_rank": 20,
            "topk_method": "noaux_tc",
            "norm_topk_prob": True,
            "scoring_func": "sigmoid",
            "routed_scaling_factor": 2.5,
            "rope_parameters": MSCALE | {"mscale": 1.0, "mscale_all_dim": 1.0},
        },
    ),
    "deepseek2-glm": (
        "Glm4MoeLiteForCausalLM",
        {
            "model_type": "glm4_moe_lite",
            **LATENT,
            **GROUPS,
            "q_lora_rank": 20,
            "n_group": 1,
            "topk_group": 1,
            "norm_topk_prob": True,
            "routed_scaling_factor": 1.8,
        },
    ),
    "minicpm3": (
        "MiniCPM3ForCausalLM",
        {
            "model_type": "minicpm3",
            **LATENT,
            "q_lora_rank": 20,
            "tie_word_embeddings": True,
            "original_max_position_embeddings": 16,
            "rope_scaling": LONGROPE,
            "scale_emb": 12,
            "scale_depth": 1.4,
            "dim_model_base": 256,
        },
    ),
    "kimi-linear": (
        "KimiLinearForCausalLM",
        {
            "model_type": "kimi_linear",
            **LATENT,
            **KIMI,
            "num_hidden_layers": 5,
            "model_max_length": 128,
            "linear_attn_config": KIMI_DELTA,
            "q_lora_rank": None,
            "num_experts": 8,
            "num_experts_per_token": 3,
            "num_shared_experts": 2,
            "moe_intermediate_size": 24,
            "first_k_dense_replace": 1,
            "moe_renormalize": True,
            "routed_scaling_factor": 1.8,
        },
    ),
    "mistral4": (
        "Mistral4ForCausalLM",
        {
            "model_type": "mistral4",
            **LATENT,
            **GROUPS,
            "q_lora_rank": 20,
            "n_group": 1,
            "topk_group": 1,
            "norm_topk_prob": True,
            "routed_scaling_factor": 1.5,
            "rope_parameters": {**MINISTRAL, "partial_rotary_factor": 0.25},
        },
    ),
    "plm": (
        "PLMForCausalLM",
        {
            "model_type": "plm",
            **LATENT,
            "v_head_dim": 8,
            "q_lora_rank": None,
            "hidden_act": "relu2",
            "tie_word_embeddings": True,
        },
    ),
}
