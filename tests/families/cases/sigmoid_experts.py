"""Mixtures of experts whose routers take a sigmoid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from families.shared import GROUPS, LLAMA3, YARN

SIGMOID_EXPERTS = {"head_dim": 16, "n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
SIGMOID_EXPERTS |= {"n_shared_experts": 2, "routed_scaling_factor": 1.5, "first_k_dense_replace": 1}
SIGMOID_EXPERTS |= {"norm_topk_prob": True, "n_group": 1, "topk_group": 1, "num_hidden_layers": 3}

LAGUNA = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "head_dim": 16}
LAGUNA |= {"shared_expert_intermediate_size": 40, "moe_routed_scaling_factor": 2.5, "rope_theta": None}

CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "laguna": (
        "LagunaForCausalLM",
        {
            "model_type": "laguna",
            **LAGUNA,
            "num_hidden_layers": 4,
            "num_attention_heads_per_layer": [2, 4, 4, 2],
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
            "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
            "sliding_window": 8,
            "gating": True,
            "rope_parameters": {
                "full_attention": YARN | {"rope_theta": 1000.0, "partial_rotary_factor": 0.5},
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 1.0},
            },
        },
    ),
    "hy_v3": (
        "HYV3ForCausalLM",
        {
            "model_type": "hy_v3",
            "num_hidden_layers": 3,
            "head_dim": 16,
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "num_shared_experts": 2,
            "moe_intermediate_size": 24,
            "router_scaling_factor": 1.5,
        },
    ),
    "laguna-gated-numbers": (
        "LagunaForCausalLM",
        {
            "model_type": "laguna",
            **LAGUNA,
            "mlp_layer_types": ["dense", "sparse"],
            "gating": "per-element",
            "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1000.0}},
        },
    ),
    "glm4moe": ("Glm4MoeForCausalLM", {"model_type": "glm4_moe", **SIGMOID_EXPERTS, "partial_rotary_factor": 0.5}),
    "glm4moe-norms": (
        "Glm4MoeForCausalLM",
        {
            "model_type": "glm4_moe",
            **SIGMOID_EXPERTS,
            "partial_rotary_factor": 0.5,
            "use_qk_norm": True,
            "attention_bias": True,
        },
    ),
    "dots1": (
        "Dots1ForCausalLM",
        {"model_type": "dots1", **SIGMOID_EXPERTS, "sliding_window": None, "num_key_value_heads": 4},
    ),
    "minimax-m2": (
        "MiniMaxM2ForCausalLM",
        {
            "model_type": "minimax_m2",
            "head_dim": 16,
            "rotary_dim": 8,
            "num_local_experts": 6,
            "num_experts_per_tok": 2,
        },
    ),
    "bailingmoe2": (
        "SarvamMoEForCausalLM",
        {"model_type": "sarvam_moe", **SIGMOID_EXPERTS, **GROUPS, "head_dim": 8, "n_shared_experts": 1},
    ),
    "mimo2": (
        "MiMoV2FlashForCausalLM",
        {
            "model_type": "mimo_v2_flash",
            "head_dim": 16,
            "v_head_dim": 8,
            "num_hidden_layers": 4,
            "sliding_window": 8,
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
            "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
            "attention_value_scale": 0.7,
            "n_routed_experts": 6,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "num_key_value_heads": 1,
            "rope_theta": None,
            "rope_parameters": {
                kind: {"rope_type": "default", "rope_theta": base, "partial_rotary_factor": 0.5}
                for kind, base in (("full_attention", 1000.0), ("sliding_attention", 100.0))
            },
        },
    ),
    "step35": (
        "Step3p5ForCausalLM",
        {
            "model_type": "step3p5",
            "head_dim": 16,
            "num_hidden_layers": 4,
            "num_attention_groups": 2,
            "num_key_value_heads": None,
            "attention_other_setting": {"num_attention_heads": 6, "num_attention_groups": 1},
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
            "partial_rotary_factors": [0.5, 1.0, 1.0, 0.5],
            "rope_theta": [1000.0, 100.0, 100.0, 1000.0],
            "rope_scaling": LLAMA3,
            "sliding_window": 8,
            "moe_layers_enum": "1,2,3",
            "moe_num_experts": 6,
            "moe_top_k": 2,
            "moe_intermediate_size": 24,
            "moe_router_scaling_factor": 1.5,
            "norm_expert_weight": True,
            "share_expert_dim": 40,
            "swiglu_limits": [0.0, 0.0, 0.5, 0.4],
            "swiglu_limits_shared": [0.0, 0.0, 0.0, 0.6],
        },
    ),
    "solar-open": (
        "SolarOpenForCausalLM",
        {"model_type": "solar_open", **SIGMOID_EXPERTS, "first_k_dense_replace": 0, "n_shared_experts": 1},
    ),
    "exaone-moe": (
        "ExaoneMoeForCausalLM",
        {
            "model_type": "exaone_moe",
            "head_dim": 16,
            "num_hidden_layers": 5,
            "sliding_window": 8,
            "layer_types": ["sliding_attention"] * 3 + ["full_attention", "sliding_attention"],
            "mlp_layer_types": ["dense"] + ["sparse"] * 4,
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "num_shared_experts": 1,
            "moe_intermediate_size": 24,
            "routed_scaling_factor": 2.5,
            "norm_topk_prob": True,
            "n_group": 1,
            "topk_group": 1,
        },
    ),
    "afmoe": (
        "AfmoeForCausalLM",
        {
            "model_type": "afmoe",
            "head_dim": 16,
            "num_hidden_layers": 5,
            "sliding_window": 8,
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "num_shared_experts": 2,
            "num_dense_layers": 1,
            "moe_intermediate_size": 24,
            "route_scale": 2.5,
            "route_norm": True,
            "score_func": "sigmoid",
            "mup_enabled": True,
        },
    ),
}
