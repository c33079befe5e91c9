"""Assistants of tiny models of Gemma 4: their settings, and what transformers says that they propose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from families import GOLDEN, VOCAB, settings
from numpy.typing import NDArray

CASES = ("gemma4-shared-keys", "gemma4-experts")  # the models; the keys of one are shared by its last blocks
LENGTHS, STEPS = (2, 9, 30), 3  # tokens of the texts that are continued, and the tokens that are proposed for each
KEPT = ("rope_parameters", "head_dim", "global_head_dim", "sliding_window", "num_key_value_heads", "rms_norm_eps")
KEPT += ("num_global_key_value_heads", "attention_k_eq_v", "vocab_size", "max_position_embeddings", "hidden_activation")
CLUSTERED = "gemma4-experts"  # its assistant also has a golden with clusters
CENTROIDS, ORDERING = "masked_embedding.centroids.weight", "masked_embedding.token_ordering"
Shapes = dict[str, tuple[int, ...]]


def assistant_settings(case: str, *, clusters: bool = False) -> dict[str, Any]:
    """config.json of the assistant of a model."""
    model = settings(case)
    text = {key: model[key] for key in KEPT if key in model}
    text |= {"model_type": "gemma4_text", "hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 4}
    text |= {"num_hidden_layers": 3, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}
    text |= {"num_kv_shared_layers": 3, "hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}
    text |= {"enable_moe_block": False, "use_double_wide_mlp": False, "tie_word_embeddings": True}
    return {
        "architectures": ["Gemma4AssistantForCausalLM"],
        "model_type": "gemma4_assistant",
        "backbone_hidden_size": model["hidden_size"],
        "use_ordered_embeddings": clusters,
        "num_centroids": 8,
        "centroid_intermediate_top_k": 2,
        "tie_word_embeddings": True,
        "text_config": text,
    }


def add_order(path: Path) -> None:
    """Add the order of tokens by clusters, integers, to a file of tensors."""
    from safetensors.numpy import load_file, save_file

    order = np.random.default_rng(5).permutation(VOCAB)
    save_file({**load_file(path), ORDERING: order}, path, metadata={"format": "pt"})


def assistant_golden(case: str) -> tuple[Shapes, NDArray[np.float32], NDArray[np.float32]]:
    """Shapes of the assistant's tensors; the reference's logits (texts, STEPS, vocab) and states (texts, STEPS, width).

    The texts are the first LENGTHS tokens of `families.IDS`, and each step reads the likeliest token of the one before.
    """
    with np.load(GOLDEN.parent / "assistants" / f"{case}.npz") as kept:
        shapes = {name: tuple(shape) for name, shape in json.loads(bytes(kept["shapes"])).items()}
        return shapes, kept["logits"], kept["states"]
