"""Recurrent models without attention: Mamba and RWKV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAMBA: dict[str, Any] = {
    "expand": 2,
    "state_size": 16,
    "conv_kernel": 4,
    "layer_norm_epsilon": 1e-5,
    "time_step_rank": 6,
}
MAMBA |= {"intermediate_size": 64} | dict.fromkeys(("rms_norm_eps", "num_attention_heads", "num_key_value_heads"))
MAMBA["max_position_embeddings"] = None
RWKV: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 160, "num_hidden_layers": 3}
RWKV |= dict.fromkeys(("rms_norm_eps", "num_attention_heads", "num_key_value_heads", "rope_theta", "hidden_act"))
RWKV["max_position_embeddings"] = None
RWKV6 = {"head_size": 64, "head_size_divisor": 8, "layer_norm_epsilon": 1e-5, "rescale_every": 2}
RWKV7 = {"head_dim": 64, "norm_eps": 1e-5, "norm_first": True, "norm_bias": True, "decay_low_rank_dim": 24}
RWKV7 |= {"a_low_rank_dim": 16, "v_low_rank_dim": 8, "gate_low_rank_dim": 40, "attn_mode": "chunk", "fuse_norm": True}
RWKV_QWEN = {"hidden_size": 128, "num_attention_heads": 2, "rope_theta": None, "max_position_embeddings": None}

CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
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
    "rwkv6qwen2": ("RWKV6Qwen2ForCausalLM", {"model_type": "rwkv6qwen2", **RWKV_QWEN, "num_key_value_heads": 1}),
    "arwkv7": (
        "RwkvHybridForCausalLM",
        {"model_type": "rwkv_hybrid", **RWKV_QWEN, "head_size": 64, "wkv_version": 7, "wkv_has_gate": True},
    ),
    "rwkv6": ("Rwkv6ForCausalLM", {"model_type": "rwkv6", **RWKV, **RWKV6}),
    "rwkv7": ("RWKV7ForCausalLM", {"model_type": "rwkv7", **RWKV, **RWKV7, "hidden_act": "sqrelu"}),
}
