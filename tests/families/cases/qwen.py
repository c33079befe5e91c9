"""Qwen: dense, mixtures of experts, and those that also see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from families.shared import DECODER, EXPERTS, YARN

VISION = {"hidden_size": 32, "depth": 1, "num_heads": 2, "out_hidden_size": 32, "intermediate_size": 32}
VISION |= {"embed_dim": 32, "patch_size": 4, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
QWEN_VL = {"rope_type": "default", "rope_theta": 1000.0, "mrope_section": [2, 1, 1]}

CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "qwen2": ("Qwen2ForCausalLM", {"model_type": "qwen2", "tie_word_embeddings": True}),
    "qwen2-yarn": ("Qwen2ForCausalLM", {"model_type": "qwen2", "rope_scaling": YARN}),
    "qwen3": ("Qwen3ForCausalLM", {"model_type": "qwen3", "head_dim": 16}),
    "qwen2moe": (
        "Qwen2MoeForCausalLM",
        {"model_type": "qwen2_moe", **EXPERTS, "shared_expert_intermediate_size": 40, "norm_topk_prob": False},
    ),
    "qwen3moe": ("Qwen3MoeForCausalLM", {"model_type": "qwen3_moe", **EXPERTS, "head_dim": 16, "norm_topk_prob": True}),
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
    "qwen2vl": (
        "Qwen2VLForConditionalGeneration",
        {"model_type": "qwen2_vl", "vision_config": VISION, "rope_parameters": QWEN_VL},
    ),
    "paddleocr": (
        "PaddleOCRVLForConditionalGeneration",
        {
            "model_type": "paddleocr_vl",
            "vision_config": {
                key: value for key, value in VISION.items() if key in ("hidden_size", "intermediate_size")
            },
            "text_config": {**DECODER, "model_type": "paddleocr_vl_text", "head_dim": 8, "rope_parameters": QWEN_VL},
        },
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
}
