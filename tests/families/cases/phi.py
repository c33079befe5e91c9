"""Phi 3 and its mixture of experts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from families.shared import LONGROPE

PHIMOE_CONTEXT = {"original_max_position_embeddings": 64, "rope_theta": 1000.0}

CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "phi3": ("Phi3ForCausalLM", {"model_type": "phi3", "sliding_window": 12}),
    "phi3-longrope": (
        "Phi3ForCausalLM",
        {"model_type": "phi3", "original_max_position_embeddings": 16, "rope_scaling": LONGROPE},
    ),
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
}
