"""GroveMoE in transformers: Qwen3's mixture, to which hooks add the adjugate experts of the published code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from families import IDS, settings, write_weights
from safetensors.torch import load_file, save_file
from transformers import Qwen3MoeForCausalLM
from transformers.models.qwen3_moe.configuration_qwen3_moe import Qwen3MoeConfig

GROUP, SCALE = 2, 0.05
Shapes = dict[str, tuple[int, ...]]


def run(folder: Path, case: str) -> tuple[Any, Shapes]:
    """Logits (tokens, vocabulary) of IDS, and the shapes of all tensors. `folder` is empty."""
    config = settings(case)
    plain = {**config, "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe"}
    (folder / "config.json").write_text(json.dumps(plain))
    Qwen3MoeForCausalLM(Qwen3MoeConfig.from_pretrained(folder)).save_pretrained(folder)
    weights = folder / "model.safetensors"
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(weights).items()}
    wide, inner = config["hidden_size"], config["head_dim"]
    for layer in range(config["num_hidden_layers"]):
        for i in range(config["num_experts"] // GROUP):
            name = f"model.layers.{layer}.mlp.chunk_experts.{i}."
            shapes |= {f"{name}{matrix}_proj.weight": (inner, wide) for matrix in ("gate", "up")}
            shapes[f"{name}down_proj.weight"] = wide, inner
        shapes[f"model.layers.{layer}.mlp.expert_bias"] = (config["num_experts"],)
    write_weights(folder, case, shapes)
    tensors = load_file(weights)
    save_file({k: v for k, v in tensors.items() if "chunk_" not in k and "expert_bias" not in k}, weights)
    model = Qwen3MoeForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    for i, layer in enumerate(model.model.layers):
        layer.mlp.register_forward_hook(_adjugate(config, tensors, f"model.layers.{i}.mlp."))
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].numpy(), shapes


def _adjugate(config: Mapping[str, Any], w: Mapping[str, torch.Tensor], prefix: str) -> Callable[..., torch.Tensor]:
    """A hook that adds, for each chosen expert of a token and with its weight, the small expert of its group."""

    def hook(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        x = inputs[0][0]
        weights = (x @ w[f"{prefix}gate.weight"].T).softmax(-1)
        weights, chosen = weights.topk(config["num_experts_per_tok"])
        weights = weights / weights.sum(-1, keepdim=True)
        small = torch.zeros_like(x)
        for token in range(len(x)):
            for weight, expert in zip(weights[token], chosen[token].tolist(), strict=True):
                group = f"{prefix}chunk_experts.{expert // GROUP}."
                gate, up, down = (w[f"{group}{name}_proj.weight"] for name in ("gate", "up", "down"))
                small[token] += weight * (down @ (torch.nn.functional.silu(gate @ x[token]) * (up @ x[token])))
        return out + SCALE * small

    return hook
