"""LoRA adapters of tiny models of several families, with values drawn from their tensors' names.

`tools/make_lora_goldens.py` has PEFT make and run them, and keeps what it wrote beside the weights, and the logits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from hf_folders import drawn, safetensors_bytes
from numpy.typing import NDArray

GOLDEN = Path(__file__).parent / "golden" / "lora"
EVERY = {"target_modules": "all-linear", "r": 4, "lora_alpha": 4}
# Case -> the model's case in tests/families, and what is given to PEFT's LoraConfig.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", EVERY),
    "patterns": (
        "llama",
        EVERY
        | {"rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.(gate|up)_proj": 8}}
        | {"alpha_pattern": {r"layers\.(0|1)\.mlp\.down_proj": 12, "k_proj": 1}},
    ),
    "rslora-embedding": (
        "llama",
        {"target_modules": ["embed_tokens", "lm_head", "v_proj", "o_proj"]}
        | {"r": 3, "lora_alpha": 2, "use_rslora": True},
    ),
    "phi3": ("phi3", EVERY),
    "gpt2": ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True, "r": 4, "lora_alpha": 6}),
    "gptneox": ("gptneox", EVERY),
    "gemma2": ("gemma2-short-window", EVERY),
    "bloom": ("bloom", EVERY),
}  # fmt: skip


def golden(case: str) -> tuple[dict[str, Any], dict[str, tuple[int, ...]], NDArray[np.float32]]:
    """adapter_config.json, the shapes of the adapter's tensors, and logits with it (tokens, vocabulary)."""
    with np.load(GOLDEN / f"{case}.npz") as kept:
        config, shapes = (json.loads(kept[name].tobytes()) for name in ("config", "shapes"))
        return config, {name: tuple(shape) for name, shape in shapes.items()}, kept["logits"]


def write_adapter(folder: Path, config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> Path:
    """The PEFT folder of a case."""
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = {name: ("F32", drawn(name, shape)) for name, shape in shapes.items()}
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes(tensors))
    return folder
