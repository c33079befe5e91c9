"""Gemma 1 to 4, and what resembles them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from families.shared import DECODER, VOCAB

GEMMA = {"head_dim": 16, "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": True}
GEMMA2 = GEMMA | {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 16}
GEMMA4_ROPE = {
    "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
}
GEMMA4: dict[str, Any] = {"model_type": "gemma4_text", "hidden_activation": "gelu_pytorch_tanh", "head_dim": 8}
GEMMA4 |= {"hidden_act": "gelu_pytorch_tanh", "rope_theta": None}
GEMMA4 |= {"global_head_dim": 16, "tie_word_embeddings": True, "sliding_window": 8, "rope_parameters": GEMMA4_ROPE}

CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "gemma": ("GemmaForCausalLM", {"model_type": "gemma", **GEMMA}),
    "gemma2-long-window": ("Gemma2ForCausalLM", {"model_type": "gemma2", **GEMMA2, "sliding_window": 64}),
    "gemma2-short-window": ("Gemma2ForCausalLM", {"model_type": "gemma2", **GEMMA2, "sliding_window": 8}),
    "muse-glimmer": (
        "MuseGlimmerForConditionalGeneration",
        {
            "model_type": "muse_glimmer",
            "vision_config": {
                "hidden_size": 32,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "pos_emb_height": 4,
                "pos_emb_width": 4,
                "patch_size": 4,
            },
            "text_config": {
                **DECODER,
                "model_type": "muse_glimmer_text",
                "head_dim": 16,
                "hidden_activation": "silu",
                "num_hidden_layers": 4,
                "sliding_window": 8,
                "qk_scale_factor": 1.7,
                "output_multiplier": 0.4,
                "final_logit_softcapping": 3.0,
            },
        },
    ),
    "vaultgemma": (
        "VaultGemmaForCausalLM",
        {"model_type": "vaultgemma", **GEMMA2, "num_hidden_layers": 3, "sliding_window": 8},
    ),
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
}
