"""Tiny models of every family as Hugging Face folders: their settings, and weights drawn from the tensors' names.

`tools/make_family_goldens.py` runs them in transformers and keeps the logits; `test_families.py` makes the same
folders, converts them and runs them here.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).parent / "golden" / "families"
VOCAB = 40
IDS = np.random.default_rng(11).integers(3, VOCAB, 40).tolist()

DECODER = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "rope_theta": 1000.0,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GEMMA = {"head_dim": 16, "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": True}
GEMMA2 = GEMMA | {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 16}
GEMMA4_ROPE = {
    "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
}
GEMMA4: dict[str, Any] = {"model_type": "gemma4_text", "hidden_activation": "gelu_pytorch_tanh", "head_dim": 8}
GEMMA4 |= {"hidden_act": "gelu_pytorch_tanh", "rope_theta": None}
GEMMA4 |= {"global_head_dim": 16, "tie_word_embeddings": True, "sliding_window": 8, "rope_parameters": GEMMA4_ROPE}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 16}
SHORT, LONG = [1.0, 1.05, 1.1, 1.2], [1.5, 2.0, 3.0, 6.5]
LONGROPE = {"type": "longrope", "short_factor": SHORT, "long_factor": LONG}
GRANITE = {"embedding_multiplier": 6.0, "attention_multiplier": 0.2, "residual_multiplier": 0.4, "logits_scaling": 2.0}
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
MINISTRAL = YARN | {"type": "yarn", "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0}
MINISTRAL |= {"llama_4_scaling_beta": 0.1, "rope_theta": 1000.0}
COHERE = {"model_type": "cohere", "logit_scale": 0.25, "layer_norm_eps": 1e-5, "tie_word_embeddings": True}
LFM2 = {"num_hidden_layers": 4, "norm_eps": 1e-5, "conv_L_cache": 3, "conv_bias": False, "tie_word_embeddings": True}
DELTA = {"num_hidden_layers": 4, "head_dim": 16, "linear_conv_kernel_dim": 4, "full_attention_interval": 4}
DELTA |= {"linear_key_head_dim": 16, "linear_value_head_dim": 16, "linear_num_key_heads": 2}
DELTA |= {"linear_num_value_heads": 6, "rms_norm_eps": 1e-6, "partial_rotary_factor": 0.5}
MROPE = {"rope_type": "default", "rope_theta": 1000.0, "partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1]}
QWEN35 = {**DELTA, "rope_parameters": {**MROPE, "mrope_interleaved": True}}
SHARED = {**EXPERTS, "shared_expert_intermediate_size": 40}
HYBRID = {"mamba_n_heads": 4, "mamba_n_groups": 1, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2}
HYBRID |= {
    "mamba_d_head": 16,
    "num_hidden_layers": 4,
    "shared_intermediate_size": 40,
    "position_embedding_type": "nope",
}
HYBRID |= {"model_type": "granitemoehybrid", "layer_types": ["mamba", "mamba", "mamba", "attention"], **GRANITE}
NEMOTRON_H = {"model_type": "nemotron_h", "num_hidden_layers": 5, "head_dim": 16, "mlp_hidden_act": "relu2"}
NEMOTRON_H |= {"mamba_num_heads": 6, "mamba_head_dim": 16, "n_groups": 2, "ssm_state_size": 16, "conv_kernel": 4}
NEMOTRON_H |= {"layer_norm_epsilon": 1e-5, "expand": 3, "rope_theta": None}
FALCON_H1 = {"model_type": "falcon_h1", "mamba_n_heads": 6, "mamba_d_head": 16, "mamba_d_ssm": 96, "mamba_n_groups": 2}
FALCON_H1 |= {"mamba_d_state": 16, "mamba_d_conv": 4, "key_multiplier": 0.4, "attention_in_multiplier": 1.5}
FALCON_H1 |= {"attention_out_multiplier": 0.9, "ssm_in_multiplier": 1.25, "ssm_out_multiplier": 0.6}
FALCON_H1 |= {"ssm_multipliers": [0.8, 0.7, 1.2, 0.9, 1.1], "mlp_multipliers": [0.9, 1.3]}
FALCON_H1 |= {"embedding_multiplier": 3.0, "lm_head_multiplier": 0.5, "mamba_norm_before_gate": False}
MAMBA: dict[str, Any] = {
    "expand": 2,
    "state_size": 16,
    "conv_kernel": 4,
    "layer_norm_epsilon": 1e-5,
    "time_step_rank": 6,
}
MAMBA |= {"intermediate_size": 64} | dict.fromkeys(("rms_norm_eps", "num_attention_heads", "num_key_value_heads"))
MAMBA["max_position_embeddings"] = None
NEOX = {"layer_norm_eps": 1e-5, "hidden_act": "gelu", "rotary_emb_base": 1000.0, "rotary_pct": 0.5}
NEOX |= dict.fromkeys(("rms_norm_eps", "num_key_value_heads", "rope_theta"))
FALCON = {"model_type": "falcon", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "bias": False}
FALCON |= {"ffn_hidden_size": 56, "activation": "gelu", "alibi": False}
FALCON |= dict.fromkeys(("rms_norm_eps", "intermediate_size", "num_key_value_heads", "hidden_act"))
SIGMOID_EXPERTS = {"head_dim": 16, "n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
SIGMOID_EXPERTS |= {"n_shared_experts": 2, "routed_scaling_factor": 1.5, "first_k_dense_replace": 1}
SIGMOID_EXPERTS |= {"norm_topk_prob": True, "n_group": 1, "topk_group": 1, "num_hidden_layers": 3}
NO_LLAMA = dict.fromkeys(("rms_norm_eps", "intermediate_size", "num_key_value_heads", "hidden_act", "rope_theta"))
NO_LLAMA["max_position_embeddings"] = None
LATENT = {"kv_lora_rank": 32, "qk_nope_head_dim": 24, "qk_rope_head_dim": 8, "v_head_dim": 16}
LATENT |= {"num_key_value_heads": 4}
GROUPS = {"n_routed_experts": 8, "n_group": 4, "topk_group": 2, "num_experts_per_tok": 3, "n_shared_experts": 2}
GROUPS |= {"moe_intermediate_size": 24, "first_k_dense_replace": 1, "num_hidden_layers": 3}
KIMI_DELTA = {"full_attn_layers": [3, 5], "kda_layers": [1, 2, 4], "head_dim": 16, "num_heads": 4}
KIMI_DELTA["short_conv_kernel_size"] = 4
KIMI: dict[str, Any] = {"rope_theta": None, "num_expert_group": 1, "topk_group": 1}
KIMI |= {"moe_router_activation_func": "sigmoid", "moe_layer_freq": 1, "use_grouped_topk": True}
MSCALE = YARN | {"beta_fast": 32.0, "beta_slow": 1.0, "mscale": 0.7, "mscale_all_dim": 0.7, "rope_theta": 1000.0}
PHIMOE_CONTEXT = {"original_max_position_embeddings": 64, "rope_theta": 1000.0}
GPT_OSS_ROPE = YARN | {"beta_fast": 32.0, "beta_slow": 1.0, "truncate": False}

RWKV: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 160, "num_hidden_layers": 3}
RWKV |= dict.fromkeys(("rms_norm_eps", "num_attention_heads", "num_key_value_heads", "rope_theta", "hidden_act"))
RWKV["max_position_embeddings"] = None
RWKV6 = {"head_size": 64, "head_size_divisor": 8, "layer_norm_epsilon": 1e-5, "rescale_every": 2}
RWKV7 = {"head_dim": 64, "norm_eps": 1e-5, "norm_first": True, "norm_bias": True, "decay_low_rank_dim": 24}
RWKV_QWEN = {"hidden_size": 128, "num_attention_heads": 2, "rope_theta": None, "max_position_embeddings": None}
RWKV7 |= {"a_low_rank_dim": 16, "v_low_rank_dim": 8, "gate_low_rank_dim": 40, "attn_mode": "chunk", "fuse_norm": True}

EXPERTS_OF_LLAMA = {"n_routed_experts": 6, "n_shared_experts": 2, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
EXPERTS_OF_LLAMA |= {"norm_topk_prob": False, "first_k_dense_replace": 1, "num_hidden_layers": 3, "moe_layer_freq": 1}
GROK = {"num_local_experts": 6, "num_experts_per_tok": 2, "embedding_multiplier_scale": 5.0, "head_dim": 8}
GROK |= {"output_multiplier_scale": 0.6, "attn_output_multiplier": 0.4, "attn_logit_softcapping": 3.0}
GROK |= {"final_logit_softcapping": 4.0, "hidden_act": "gelu_new"}
VISION = {"hidden_size": 32, "depth": 1, "num_heads": 2, "out_hidden_size": 32, "intermediate_size": 32}
VISION |= {"embed_dim": 32, "patch_size": 4, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
QWEN_VL = {"rope_type": "default", "rope_theta": 1000.0, "mrope_section": [2, 1, 1]}

OPENELM: dict[str, Any] = {"model_dim": 32, "head_dim": 8, "num_transformer_layers": 3, "max_context_length": 128}
OPENELM |= {"num_query_heads": [4, 4, 6], "num_kv_heads": [2, 1, 3], "ffn_multipliers": [1.0, 1.75, 2.5]}
OPENELM |= {"ffn_dim_divisor": 8, "ffn_with_glu": True, "normalize_qk_projections": True, "rope_freq_constant": 1000}
OPENELM |= {"share_input_output_layers": True, "activation_fn_name": "swish", "normalization_layer_name": "rms_norm"}
DECI: list[dict[str, Any]] = [
    {"attention": {"n_heads_in_group": group, "replace_with_linear": linear}, "ffn": {"ffn_mult": mult}}
    for group, linear, mult in (
        (2, False, 2.0),
        (None, True, 12.5),
        (None, False, 1.0),
        (None, False, None),
        (4, False, 6.0),
    )
]

# name of the case -> (class of transformers, settings beside DECODER's)
CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {"model_type": "llama", "rope_scaling": LLAMA3}),
    "qwen2": ("Qwen2ForCausalLM", {"model_type": "qwen2", "tie_word_embeddings": True}),
    "qwen2-yarn": ("Qwen2ForCausalLM", {"model_type": "qwen2", "rope_scaling": YARN}),
    "qwen3": ("Qwen3ForCausalLM", {"model_type": "qwen3", "head_dim": 16}),
    "gemma": ("GemmaForCausalLM", {"model_type": "gemma", **GEMMA}),
    "gemma2-long-window": ("Gemma2ForCausalLM", {"model_type": "gemma2", **GEMMA2, "sliding_window": 64}),
    "gemma2-short-window": ("Gemma2ForCausalLM", {"model_type": "gemma2", **GEMMA2, "sliding_window": 8}),
    "gemma3": (
        "Gemma3ForCausalLM",
        {
            "model_type": "gemma3_text",
            **GEMMA2,
            "num_hidden_layers": 7,
            "sliding_window": 8,
            "sliding_window_pattern": 6,
            "rope_local_base_freq": 100.0,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
    ),
    "phi3": ("Phi3ForCausalLM", {"model_type": "phi3", "sliding_window": 12}),
    "phi3-longrope": (
        "Phi3ForCausalLM",
        {"model_type": "phi3", "original_max_position_embeddings": 16, "rope_scaling": LONGROPE},
    ),
    "granite": ("GraniteForCausalLM", {"model_type": "granite", **GRANITE}),
    "smollm3": (
        "SmolLM3ForCausalLM",
        {"model_type": "smollm3", "num_hidden_layers": 5, "no_rope_layer_interval": 4, "use_sliding_window": False},
    ),
    "olmo2": ("Olmo2ForCausalLM", {"model_type": "olmo2"}),
    "olmo3": (
        "Olmo3ForCausalLM",
        {"model_type": "olmo3", "num_hidden_layers": 5, "sliding_window": 8, "rope_scaling": YARN, "rope_theta": 5e5},
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        {
            "model_type": "gpt2",
            "n_embd": 32,
            "n_head": 4,
            "n_layer": 2,
            "n_positions": 64,
            "layer_norm_epsilon": 1e-5,
            "activation_function": "gelu_new",
            "tie_word_embeddings": True,
        },
    ),
    "mistral3": (
        "Ministral3ForCausalLM",
        {"model_type": "ministral3", "head_dim": 16, "rope_parameters": MINISTRAL, "sliding_window": None},
    ),
    "command-r": ("CohereForCausalLM", COHERE),
    "command-r-plus": ("CohereForCausalLM", {**COHERE, "use_qk_norm": True}),
    "cohere2": (
        "Cohere2ForCausalLM",
        {**COHERE, "model_type": "cohere2", "num_hidden_layers": 5, "sliding_window": 8, "rms_norm_eps": None},
    ),
    "glm4": ("Glm4ForCausalLM", {"model_type": "glm4", "head_dim": 16, "partial_rotary_factor": 0.5}),
    "exaone4": (
        "Exaone4ForCausalLM",
        {
            "model_type": "exaone4",
            "sliding_window": None,
            "layer_types": ["full_attention"] * 2,
            "rope_scaling": LLAMA3,
        },
    ),
    "exaone4-windows": (
        "Exaone4ForCausalLM",
        {
            "model_type": "exaone4",
            "num_hidden_layers": 5,
            "sliding_window": 8,
            "layer_types": ["sliding_attention"] * 3 + ["full_attention", "sliding_attention"],
        },
    ),
    "seed_oss": ("SeedOssForCausalLM", {"model_type": "seed_oss", "head_dim": 16, "attention_bias": True}),
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
    "hunyuan-dense": (
        "HunYuanDenseV1ForCausalLM",
        {
            "model_type": "hunyuan_v1_dense",
            "head_dim": 16,
            "rope_parameters": {"rope_type": "dynamic", "alpha": 20.0, "factor": 1.0, "rope_theta": 1000.0},
        },
    ),
    "ernie4_5": ("Ernie4_5ForCausalLM", {"model_type": "ernie4_5", "head_dim": 16, "tie_word_embeddings": True}),
    "starcoder2": (
        "Starcoder2ForCausalLM",
        {
            "model_type": "starcoder2",
            "norm_epsilon": 1e-5,
            "rms_norm_eps": None,
            "hidden_act": "gelu_pytorch_tanh",
            "sliding_window": 12,
            "tie_word_embeddings": True,
        },
    ),
    "phi2": (
        "PhiForCausalLM",
        {
            "model_type": "phi",
            "layer_norm_eps": 1e-5,
            "rms_norm_eps": None,
            "hidden_act": "gelu_new",
            "partial_rotary_factor": 0.5,
        },
    ),
    "gptneox": ("GPTNeoXForCausalLM", {"model_type": "gpt_neox", **NEOX}),
    "gptneox-in-turn": ("GPTNeoXForCausalLM", {"model_type": "gpt_neox", **NEOX, "use_parallel_residual": False}),
    "falcon": ("FalconForCausalLM", FALCON),
    "falcon-two-norms": ("FalconForCausalLM", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "stablelm": (
        "StableLmForCausalLM",
        {
            "model_type": "stablelm",
            "layer_norm_eps": 1e-5,
            "rms_norm_eps": None,
            "partial_rotary_factor": 0.25,
            "use_qkv_bias": True,
        },
    ),
    "arcee": ("ArceeForCausalLM", {"model_type": "arcee", "hidden_act": "relu2", "rope_scaling": LLAMA3}),
    "hunyuan-moe": (
        "HunYuanMoEV1ForCausalLM",
        {"model_type": "hunyuan_v1_moe", "head_dim": 16, "num_experts": 6, "moe_topk": [2, 2]},
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
    "mixtral": ("MixtralForCausalLM", {"model_type": "mixtral", "num_local_experts": 6, "num_experts_per_tok": 2}),
    "qwen2moe": (
        "Qwen2MoeForCausalLM",
        {"model_type": "qwen2_moe", **EXPERTS, "shared_expert_intermediate_size": 40, "norm_topk_prob": False},
    ),
    "qwen3moe": ("Qwen3MoeForCausalLM", {"model_type": "qwen3_moe", **EXPERTS, "head_dim": 16, "norm_topk_prob": True}),
    "granitemoe": (
        "GraniteMoeForCausalLM",
        {"model_type": "granitemoe", **GRANITE, "num_local_experts": 6, "num_experts_per_tok": 2},
    ),
    "granitemoe-shared": (
        "GraniteMoeSharedForCausalLM",
        {
            "model_type": "granitemoeshared",
            **GRANITE,
            "num_local_experts": 6,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 40,
        },
    ),
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
    "mamba2": (
        "Mamba2ForCausalLM",
        {
            "model_type": "mamba2",
            "num_heads": 6,
            "head_dim": 16,
            "expand": 3,
            "n_groups": 2,
            "state_size": 16,
            "conv_kernel": 4,
            "layer_norm_epsilon": 1e-5,
            **dict.fromkeys(("rms_norm_eps", "max_position_embeddings", "num_attention_heads", "num_key_value_heads")),
        },
    ),
    "mamba": ("MambaForCausalLM", {"model_type": "mamba", **MAMBA}),
    "falcon-mamba": ("FalconMambaForCausalLM", {"model_type": "falcon_mamba", **MAMBA, "mixer_rms_eps": 1e-5}),
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
    "granitehybrid": ("GraniteMoeHybridForCausalLM", {**HYBRID, "num_local_experts": 0}),
    "granitehybrid-experts": (
        "GraniteMoeHybridForCausalLM",
        {**HYBRID, "num_local_experts": 6, "num_experts_per_tok": 2},
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
    "gemma3n": (
        "Gemma3nForCausalLM",
        GEMMA
        | {
            "model_type": "gemma3n_text",
            "hidden_activation": "gelu_pytorch_tanh",
            "num_hidden_layers": 8,
            "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"] * 2,
            "intermediate_size": [56] * 8,
            "activation_sparsity_pattern": [0.95] * 3 + [0.0] * 5,
            "num_kv_shared_layers": 4,
            "sliding_window": 8,
            "vocab_size_per_layer_input": VOCAB,
            "hidden_size_per_layer_input": 8,
            "laurel_rank": 16,
            "rope_local_base_freq": 100.0,
            "final_logit_softcapping": 5.0,
        },
    ),
    "gemma4-shared-keys": (
        "Gemma4ForCausalLM",
        GEMMA4
        | {
            "num_hidden_layers": 8,
            "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"] * 2,
            "num_kv_shared_layers": 4,
            "num_key_value_heads": 1,
            "use_double_wide_mlp": True,
            "vocab_size_per_layer_input": VOCAB,
            "hidden_size_per_layer_input": 32,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma4-experts": (
        "Gemma4ForCausalLM",
        GEMMA4
        | {
            "num_hidden_layers": 6,
            "hidden_size_per_layer_input": 0,
            "attention_k_eq_v": True,
            "num_global_key_value_heads": 1,
            "enable_moe_block": True,
            "num_experts": 6,
            "top_k_experts": 2,
            "moe_intermediate_size": 24,
            "use_bidirectional_attention": "vision",
        },
    ),
    "apertus": ("ApertusForCausalLM", {"model_type": "apertus", "hidden_act": "xielu", "rope_scaling": LLAMA3}),
    "internlm3": ("InternLM3ForCausalLM", {"model_type": "internlm3", "head_dim": 8, "qkv_bias": True, "bias": True}),
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
    "bloom": (
        "BloomForCausalLM",
        {
            "model_type": "bloom",
            "num_attention_heads": 6,
            "hidden_size": 48,
            "layer_norm_epsilon": 1e-5,
            "seq_length": 128,
            "tie_word_embeddings": True,
            **NO_LLAMA,
        },
    ),
    "mpt": (
        "MptForCausalLM",
        {
            "model_type": "mpt",
            "max_seq_len": 128,
            "attn_config": {"alibi": True, "alibi_bias_max": 8},
            "tie_word_embeddings": True,
            **NO_LLAMA,
        },
    ),
    "bailingmoe2": (
        "SarvamMoEForCausalLM",
        {"model_type": "sarvam_moe", **SIGMOID_EXPERTS, **GROUPS, "head_dim": 8, "n_shared_experts": 1},
    ),
    "bitnet": ("BitNetForCausalLM", {"model_type": "bitnet", "hidden_act": "relu2", "tie_word_embeddings": True}),
    "phimoe": (
        "PhimoeForCausalLM",
        {
            "model_type": "phimoe",
            "num_local_experts": 6,
            "num_experts_per_tok": 2,
            "router_jitter_noise": 0.01,
            "input_jitter_noise": 0.0,
            "attention_bias": True,
            "lm_head_bias": True,
            "original_max_position_embeddings": 64,
            "rope_scaling": {**LONGROPE, "short_mscale": 1.2, "long_mscale": 1.2, **PHIMOE_CONTEXT},
        },
    ),
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
    "openelm": ("OpenELMForCausalLM", {"model_type": "openelm", **OPENELM}),
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
    "maincoder": ("MaincoderForCausalLM", {"model_type": "maincoder", "head_dim": 16, "tie_word_embeddings": True}),
    "plm": (
        "PLMForCausalLM",
        {"model_type": "plm", **LATENT, "q_lora_rank": None, "hidden_act": "relu2", "tie_word_embeddings": True},
    ),
    "iquestcoder": ("IQuestCoderForCausalLM", {"model_type": "iquestcoder", "head_dim": 16}),
    "kormo": ("KORMoForCausalLM", {"model_type": "kormo", "head_dim": 8}),
    "deci": (
        "DeciLMForCausalLM",
        {
            "model_type": "nemotron-nas",
            "num_hidden_layers": 5,
            "block_configs": DECI,
            "rope_scaling": LLAMA3,
            "intermediate_size": None,
            "num_key_value_heads": None,
        },
    ),
    "deci-heads": ("DeciLMForCausalLM", {"model_type": "deci", "num_key_value_heads_per_layer": [1, 2]}),
    "gptj": (
        "GPTJForCausalLM",
        {
            "model_type": "gptj",
            "n_embd": 32,
            "n_head": 2,
            "n_layer": 2,
            "n_positions": 64,
            "rotary_dim": 8,
            "layer_norm_epsilon": 1e-5,
            "activation_function": "gelu_new",
            "tie_word_embeddings": False,
        },
    ),
    "plamo": ("PlamoForCausalLM", {"model_type": "plamo", "n_shared_head": 2, "num_attention_heads": 4}),
    "plamo3": (
        "Plamo3ForCausalLM",
        {
            "model_type": "plamo3",
            "head_dim": 8,
            "num_hidden_layers": 5,
            "sliding_window": 8,
            "sliding_window_pattern": 4,
            "rope_local_theta": 100.0,
            "initial_context_length": 16,
            "rope_scaling_factor": 1,
        },
    ),
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
    "jais": (
        "JAISLMHeadModel",
        {
            "model_type": "jais",
            "n_embd": 48,
            "n_head": 6,
            "n_layer": 2,
            "n_inner": 56,
            "n_positions": 64,
            "layer_norm_epsilon": 1e-5,
            "activation_function": "swiglu",
            "position_embedding_type": "alibi",
            "mup_scale_qk_dot_by_d": True,
            "mup_embeddings_scale": 4.0,
            "mup_output_alpha": 2.0,
            "mup_width_scale": 0.25,
            "alibi_scaling": None,
            "tie_word_embeddings": False,
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
    "exaone": (
        "ExaoneForCausalLM",
        {
            "model_type": "exaone3",
            "activation_function": "silu",
            "layer_norm_epsilon": 1e-5,
            "rope_scaling": LLAMA3,
        },
    ),
    "minicpm": (
        "MiniCPMForCausalLM",
        {
            "model_type": "minicpm",
            "scale_emb": 12,
            "scale_depth": 1.4,
            "dim_model_base": 16,
            "tie_word_embeddings": True,
        },
    ),
    "orion": ("OrionForCausalLM", {"model_type": "orion", "rope_theta": 10000.0}),
    "xverse": ("XverseForCausalLM", {"model_type": "xverse", "num_key_value_heads": 4}),
    "qwen": (
        "QWenLMHeadModel",
        {
            "model_type": "qwen",
            "num_key_value_heads": None,
            "layer_norm_epsilon": 1e-5,
            "rotary_emb_base": 1000.0,
            "seq_length": 128,
        },
    ),
    "rwkv6qwen2": ("RWKV6Qwen2ForCausalLM", {"model_type": "rwkv6qwen2", **RWKV_QWEN, "num_key_value_heads": 1}),
    "arwkv7": (
        "RwkvHybridForCausalLM",
        {"model_type": "rwkv_hybrid", **RWKV_QWEN, "head_size": 64, "wkv_version": 7, "wkv_has_gate": True},
    ),
    "nemotron": (
        "NemotronForCausalLM",
        {
            "model_type": "nemotron",
            "norm_eps": 1e-5,
            "rms_norm_eps": None,
            "hidden_act": "relu2",
            "partial_rotary_factor": 0.5,
        },
    ),
    "olmo": ("OlmoForCausalLM", {"model_type": "olmo", "clip_qkv": 1.0, "rms_norm_eps": None}),
    "starcoder": (
        "GPTBigCodeForCausalLM",
        {
            "model_type": "gpt_bigcode",
            "n_embd": 32,
            "n_head": 4,
            "n_layer": 2,
            "n_positions": 64,
            "layer_norm_epsilon": 1e-5,
            "activation_function": "gelu_pytorch_tanh",
            "multi_query": True,
            "tie_word_embeddings": True,
        },
    ),
    "jais2": (
        "Jais2ForCausalLM",
        {"model_type": "jais2", "layer_norm_eps": 1e-5, "rms_norm_eps": None, "hidden_act": "relu2"},
    ),
    "solar-open": (
        "SolarOpenForCausalLM",
        {"model_type": "solar_open", **SIGMOID_EXPERTS, "first_k_dense_replace": 0, "n_shared_experts": 1},
    ),
    "pangu-embedded": ("PanguEmbeddedForCausalLM", {"model_type": "PanguEmbedded", "bias": True}),
    "codeshell": (
        "CodeShellForCausalLM",
        {
            "model_type": "codeshell",
            "n_embd": 32,
            "n_head": 4,
            "n_layer": 2,
            "n_positions": 64,
            "num_query_groups": 2,
            "layer_norm_epsilon": 1e-5,
            "activation_function": "gelu_pytorch_tanh",
            "position_embedding_type": "rope",
        },
    ),
    "refact": (
        "GPTRefactForCausalLM",
        {
            "model_type": "gpt_refact",
            "n_embd": 32,
            "n_head": 4,
            "n_layer": 2,
            "n_positions": 64,
            "layer_norm_epsilon": 1e-5,
            "multi_query": True,
            "tie_word_embeddings": False,
        },
    ),
    "chatglm": (
        "GlmForCausalLM",
        {"model_type": "glm", "head_dim": 16, "partial_rotary_factor": 0.5, "attention_bias": True},
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
    "qwen2vl": (
        "Qwen2VLForConditionalGeneration",
        {"model_type": "qwen2_vl", "vision_config": VISION, "rope_parameters": QWEN_VL},
    ),
    "qwen3vl": (
        "Qwen3VLForConditionalGeneration",
        {
            "model_type": "qwen3_vl",
            "vision_config": VISION,
            "text_config": {**DECODER, "model_type": "qwen3_vl_text", "head_dim": 16, "rope_parameters": QWEN_VL},
        },
    ),
    "qwen3vlmoe": (
        "Qwen3VLMoeForConditionalGeneration",
        {
            "model_type": "qwen3_vl_moe",
            "vision_config": VISION,
            "text_config": {
                **DECODER,
                **EXPERTS,
                "model_type": "qwen3_vl_moe_text",
                "head_dim": 16,
                "rope_parameters": QWEN_VL,
            },
        },
    ),
    "rwkv6": ("Rwkv6ForCausalLM", {"model_type": "rwkv6", **RWKV, **RWKV6}),
    "rwkv7": ("RWKV7ForCausalLM", {"model_type": "rwkv7", **RWKV, **RWKV7, "hidden_act": "sqrelu"}),
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
}


LESS_ONE = ("gemma", "gemma2-long-window", "gemma2-short-window", "gemma3", "gemma-embedding")


def settings(case: str) -> dict[str, Any]:
    """config.json of a case. What GPT-2, DBRX and OpenELM call otherwise is left out of theirs."""
    name, more = CASES[case]
    own = bool({"n_embd", "d_model", "model_dim"} & more.keys())
    shared = {key: value for key, value in DECODER.items() if not own or "token" in key or "vocab" in key}
    return deepcopy({"architectures": [name], **shared, **more})


def draw(case: str, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Norms and scales around 1 (some store norms less 1), matrices that keep the size of what they read."""
    rng = np.random.Generator(np.random.SFC64([7, zlib.crc32(f"{case} {name}".encode())]))
    values = rng.standard_normal(shape, np.float32)
    if "norm" in name.lower() or "ln_" in name or "scal" in name:
        less_one = case in LESS_ONE or ("linear_attn" not in name and case.startswith(("qwen35", "qwen3next")))
        centre = 0.0 if less_one or name.endswith("bias") else 1.0
        return (values * 0.2 + centre).astype(np.float32)
    if len(shape) < 2 or "bias" in name:
        return (values * 0.3).astype(np.float32)
    by_output = "c_" in name or (len(shape) == 3 and "conv" not in name)  # GPT-2's matrices are input by output
    fan_in = shape[0] if by_output else shape[-1]
    return (values / np.float32(1.0 if "embed" in name or "wte" in name else fan_in**0.5)).astype(np.float32)


def golden(case: str) -> tuple[dict[str, tuple[int, ...]], NDArray[np.float32]]:
    """Shapes of the folder's tensors, and the reference's logits (tokens, vocabulary) of IDS."""
    with np.load(GOLDEN / f"{case}.npz") as kept:
        shapes = json.loads(bytes(kept["shapes"]))
        return {name: tuple(shape) for name, shape in shapes.items()}, kept["logits"]


def write_weights(folder: Path, case: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """model.safetensors of a case."""
    from safetensors.numpy import save_file

    tensors = {name: np.ascontiguousarray(draw(case, name, shape)).reshape(shape) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
