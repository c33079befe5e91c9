"""Mixtures of experts with softmax routers or their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from families.shared import EXPERTS, LLAMA3, YARN

GPT_OSS_ROPE = YARN | {"beta_fast": 32.0, "beta_slow": 1.0, "truncate": False}
EXPERTS_OF_LLAMA = {"n_routed_experts": 6, "n_shared_experts": 2, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
EXPERTS_OF_LLAMA |= {"norm_topk_prob": False, "first_k_dense_replace": 1, "num_hidden_layers": 3, "moe_layer_freq": 1}
GROK = {"num_local_experts": 6, "num_experts_per_tok": 2, "embedding_multiplier_scale": 5.0, "head_dim": 8}
GROK |= {"output_multiplier_scale": 0.6, "attn_output_multiplier": 0.4, "attn_logit_softcapping": 3.0}
GROK |= {"final_logit_softcapping": 4.0, "hidden_act": "gelu_new"}

CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "olmoe": (
        "OlmoeForCausalLM",
        {
            "model_type": "olmoe",
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "norm_topk_prob": False,
            "num_key_value_heads": 4,
        },
    ),
    "hunyuan-moe": (
        "HunYuanMoEV1ForCausalLM",
        {"model_type": "hunyuan_v1_moe", "head_dim": 16, "num_experts": 6, "moe_topk": [2, 2]},
    ),
    "ernie4_5-moe": (
        "Ernie4_5_MoeForCausalLM",
        {
            "model_type": "ernie4_5_moe",
            "num_hidden_layers": 3,
            "tie_word_embeddings": True,
            "moe_num_experts": 6,
            "moe_k": 2,
            "moe_intermediate_size": 24,
            "moe_num_shared_experts": 2,
            "moe_layer_start_index": 1,
            "head_dim": 8,
        },
    ),
    "mixtral": ("MixtralForCausalLM", {"model_type": "mixtral", "num_local_experts": 6, "num_experts_per_tok": 2}),
    "llama4": (
        "Llama4ForCausalLM",
        {
            "model_type": "llama4_text",
            "head_dim": 8,
            "num_hidden_layers": 5,
            "intermediate_size": 24,
            "intermediate_size_mlp": 56,
            "interleave_moe_layer_step": 2,
            "num_local_experts": 6,
            "num_experts_per_tok": 1,
            "attention_chunk_size": 8,
            "floor_scale": 4,
            "attn_scale": 0.3,
            "use_qk_norm": True,
            "rope_scaling": LLAMA3,
        },
    ),
    "grovemoe": (
        "GroveMoeForCausalLM",
        {
            "model_type": "grove_moe",
            "num_experts": 6,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 24,
            "head_dim": 16,
            "norm_topk_prob": True,
        },
    ),
    "grok": ("GrokForCausalLM", {"model_type": "grok", **GROK}),
    "arctic": ("ArcticForCausalLM", {"model_type": "arctic", "num_local_experts": 6, "num_experts_per_tok": 2}),
    "deepseek": ("DeepseekForCausalLM", {"model_type": "deepseek", **EXPERTS_OF_LLAMA}),
    "bailingmoe": (
        "BailingMoeForCausalLM",
        {
            "model_type": "bailing_moe",
            "head_dim": 16,
            "num_hidden_layers": 2,
            "num_experts": 6,
            "num_shared_experts": 2,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "norm_topk_prob": True,
            "norm_head": True,
            "first_k_dense_replace": 0,
        },
    ),
    "dbrx": (
        "DbrxForCausalLM",
        {
            "model_type": "dbrx",
            "d_model": 32,
            "n_heads": 4,
            "n_layers": 2,
            "max_seq_len": 128,
            "rope_theta": 1000.0,
            "attn_config": {"clip_qkv": 1.0, "kv_n_heads": 2, "rope_theta": 1000.0},
            "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 6, "moe_top_k": 2, "hidden_size": 32},
        },
    ),
    "gpt-oss": (
        "GptOssForCausalLM",
        {
            "model_type": "gpt_oss",
            "head_dim": 16,
            "num_hidden_layers": 3,
            "num_local_experts": 6,
            "num_experts_per_tok": 2,
            "sliding_window": 8,
            "attention_bias": True,
            "swiglu_limit": 7.0,
            "rope_scaling": GPT_OSS_ROPE,
        },
    ),
    "mellum": (
        "MellumForCausalLM",
        {
            "model_type": "mellum",
            **EXPERTS,
            "head_dim": 16,
            "num_hidden_layers": 4,
            "sliding_window": 8,
            "norm_topk_prob": True,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
            "rope_theta": None,
            "rope_parameters": {
                "full_attention": {**YARN, "rope_theta": 1000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            },
        },
    ),
}
