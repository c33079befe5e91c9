"""Granite: dense, mixtures of experts, and hybrids with Mamba 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GRANITE = {"embedding_multiplier": 6.0, "attention_multiplier": 0.2, "residual_multiplier": 0.4, "logits_scaling": 2.0}
HYBRID = {"mamba_n_heads": 4, "mamba_n_groups": 1, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2}
HYBRID |= {
    "mamba_d_head": 16,
    "num_hidden_layers": 4,
    "shared_intermediate_size": 40,
    "position_embedding_type": "nope",
}
HYBRID |= {"model_type": "granitemoehybrid", "layer_types": ["mamba", "mamba", "mamba", "attention"], **GRANITE}
BAMBA: dict[str, Any] = {key: value for key, value in HYBRID.items() if key.startswith("mamba_")}
BAMBA |= {"num_hidden_layers": 4, "attn_layer_indices": [2], "head_dim": 8}

CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "granite": ("GraniteForCausalLM", {"model_type": "granite", **GRANITE}),
    "hyperclovax": ("HyperCLOVAXForCausalLM", {"model_type": "hyperclovax", **GRANITE}),
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
    "granitehybrid": ("GraniteMoeHybridForCausalLM", {**HYBRID, "num_local_experts": 0}),
    "granitehybrid-experts": (
        "GraniteMoeHybridForCausalLM",
        {**HYBRID, "num_local_experts": 6, "num_experts_per_tok": 2},
    ),
    "granite_swa": (
        "GraniteSWAForCausalLM",
        {
            "model_type": "granite_swa",
            **GRANITE,
            "num_hidden_layers": 5,
            "sliding_window": 8,
            "layer_rope_theta": [0, 1000.0, 1000.0, 1000.0, 0],
            "tie_word_embeddings": True,
        },
    ),
    "granite_swa-experts": (
        "GraniteMoeSWAForCausalLM",
        {
            "model_type": "granitemoe_swa",
            **GRANITE,
            "num_hidden_layers": 3,
            "sliding_window": 8,
            "num_local_experts": 6,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 40,
        },
    ),
    "bamba": ("BambaForCausalLM", {"model_type": "bamba", **BAMBA}),
}
