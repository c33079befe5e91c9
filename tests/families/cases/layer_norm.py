"""Blocks with layer norms: GPT-2 and its descendants, Cohere, Falcon, Phi-2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COHERE = {"model_type": "cohere", "logit_scale": 0.25, "layer_norm_eps": 1e-5, "tie_word_embeddings": True}
NEOX = {"layer_norm_eps": 1e-5, "hidden_act": "gelu", "rotary_emb_base": 1000.0, "rotary_pct": 0.5}
NEOX |= dict.fromkeys(("rms_norm_eps", "num_key_value_heads", "rope_theta"))
FALCON = {"model_type": "falcon", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "bias": False}
FALCON |= {"ffn_hidden_size": 56, "activation": "gelu", "alibi": False}
FALCON |= dict.fromkeys(("rms_norm_eps", "intermediate_size", "num_key_value_heads", "hidden_act"))
NO_LLAMA = dict.fromkeys(("rms_norm_eps", "intermediate_size", "num_key_value_heads", "hidden_act", "rope_theta"))
NO_LLAMA["max_position_embeddings"] = None
OLDER: dict[str, Any] = dict.fromkeys(
    ("rms_norm_eps", "num_key_value_heads", "hidden_act", "rope_theta", "intermediate_size")
)
OLDER["tie_word_embeddings"] = True

CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
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
    "command-r": ("CohereForCausalLM", COHERE),
    "command-r-plus": ("CohereForCausalLM", {**COHERE, "use_qk_norm": True}),
    "cohere2": (
        "Cohere2ForCausalLM",
        {**COHERE, "model_type": "cohere2", "num_hidden_layers": 5, "sliding_window": 8, "rms_norm_eps": None},
    ),
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
    "codegen": (
        "CodeGenForCausalLM",
        {
            "model_type": "codegen",
            "n_embd": 32,
            "n_head": 4,
            "n_layer": 2,
            "n_positions": 64,
            "rotary_dim": 4,
            "layer_norm_epsilon": 1e-5,
            "activation_function": "gelu_new",
            "tie_word_embeddings": False,
        },
    ),
    "opt": (
        "OPTForCausalLM",
        {"model_type": "opt", "ffn_dim": 56, "word_embed_proj_dim": 32, "activation_function": "relu", **OLDER},
    ),
    "gptneo": (
        "GPTNeoForCausalLM",
        {
            "model_type": "gpt_neo",
            "num_layers": 4,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 2]],
            "window_size": 8,
            "activation_function": "gelu_new",
            "num_hidden_layers": 4,
            **OLDER,
        },
    ),
    "persimmon": (
        "PersimmonForCausalLM",
        {
            "model_type": "persimmon",
            "hidden_act": "relu2",
            "qk_layernorm": True,
            "partial_rotary_factor": 0.5,
            "layer_norm_eps": 1e-5,
            "rms_norm_eps": None,
            "num_key_value_heads": None,
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
    "cohere2moe": (
        "Cohere2MoeForCausalLM",
        {
            **COHERE,
            "model_type": "cohere2_moe",
            "head_dim": 8,
            "num_hidden_layers": 6,
            "sliding_window": 8,
            "rms_norm_eps": None,
            "intermediate_size": 24,
            "prefix_dense_intermediate_size": 56,
            "first_k_dense_replace": 1,
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "num_shared_experts": 2,
            "expert_selection_fn": "sigmoid",
        },
    ),
    "cohere2moe-softmax": (
        "Cohere2MoeForCausalLM",
        {
            **COHERE,
            "model_type": "cohere2_moe",
            "head_dim": 8,
            "num_hidden_layers": 4,
            "sliding_window": 8,
            "intermediate_size": 24,
            "num_experts": 6,
            "num_experts_per_tok": 2,
        },
    ),
}
