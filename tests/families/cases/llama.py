"""Llama and what changes a detail of it: another activation, a factor, names of tensors, biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from families.shared import LLAMA3, MINISTRAL, YARN

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

CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "nanochat": (
        "NanoChatForCausalLM",
        {"model_type": "nanochat", "hidden_act": "relu2", "final_logit_softcapping": 3.0, "num_key_value_heads": 2},
    ),
    "llama": ("LlamaForCausalLM", {"model_type": "llama", "rope_scaling": LLAMA3}),
    "smollm3": (
        "SmolLM3ForCausalLM",
        {"model_type": "smollm3", "num_hidden_layers": 5, "no_rope_layer_interval": 4, "use_sliding_window": False},
    ),
    "olmo2": ("Olmo2ForCausalLM", {"model_type": "olmo2"}),
    "olmo3": (
        "Olmo3ForCausalLM",
        {"model_type": "olmo3", "num_hidden_layers": 5, "sliding_window": 8, "rope_scaling": YARN, "rope_theta": 5e5},
    ),
    "mistral3": (
        "Ministral3ForCausalLM",
        {"model_type": "ministral3", "head_dim": 16, "rope_parameters": MINISTRAL, "sliding_window": None},
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
    "hunyuan-dense": (
        "HunYuanDenseV1ForCausalLM",
        {
            "model_type": "hunyuan_v1_dense",
            "head_dim": 16,
            "rope_parameters": {"rope_type": "dynamic", "alpha": 20.0, "factor": 1.0, "rope_theta": 1000.0},
        },
    ),
    "ernie4_5": ("Ernie4_5ForCausalLM", {"model_type": "ernie4_5", "head_dim": 16, "tie_word_embeddings": True}),
    "arcee": ("ArceeForCausalLM", {"model_type": "arcee", "hidden_act": "relu2", "rope_scaling": LLAMA3}),
    "apertus": ("ApertusForCausalLM", {"model_type": "apertus", "hidden_act": "xielu", "rope_scaling": LLAMA3}),
    "internlm3": ("InternLM3ForCausalLM", {"model_type": "internlm3", "head_dim": 8, "qkv_bias": True, "bias": True}),
    "bitnet": ("BitNetForCausalLM", {"model_type": "bitnet", "hidden_act": "relu2", "tie_word_embeddings": True}),
    "openelm": ("OpenELMForCausalLM", {"model_type": "openelm", **OPENELM}),
    "maincoder": ("MaincoderForCausalLM", {"model_type": "maincoder", "head_dim": 16, "tie_word_embeddings": True}),
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
    "pangu-embedded": ("PanguEmbeddedForCausalLM", {"model_type": "PanguEmbedded", "bias": True}),
    "chatglm": (
        "GlmForCausalLM",
        {"model_type": "glm", "head_dim": 8, "partial_rotary_factor": 0.5, "attention_bias": True},
    ),
    "ministral": (
        "MinistralForCausalLM",
        {
            "model_type": "ministral",
            "head_dim": 16,
            "num_hidden_layers": 3,
            "sliding_window": 8,
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
        },
    ),
    "cwm": (
        "CwmForCausalLM",
        {
            "model_type": "cwm",
            "head_dim": 16,
            "num_hidden_layers": 5,
            "sliding_window": 8,
            "rope_parameters": {**LLAMA3, "rope_theta": 1000.0},
        },
    ),
    "helium": ("HeliumForCausalLM", {"model_type": "helium", "head_dim": 8, "rms_norm_eps": 1e-8}),
}
