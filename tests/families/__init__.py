"""Tiny models of every family as Hugging Face folders: their settings, and weights drawn from the tensors' names.

`tools/make_family_goldens.py` runs them in transformers and keeps the logits; `test_families.py` makes the same
folders, converts them and runs them here. The cases lie in the files of `cases/`, which are all read.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import numpy as np
from numpy.typing import NDArray

from families import cases
from families.shared import DECODER, VOCAB

__all__ = ["CASES", "DECODER", "GOLDEN", "IDS", "VOCAB", "draw", "golden", "settings", "write_weights"]

GOLDEN = Path(__file__).parents[1] / "golden" / "families"
IDS = np.random.default_rng(11).integers(3, VOCAB, 40).tolist()


def read_cases() -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Those of every file: name of the case -> class of transformers, settings beside DECODER's."""
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for file in iter_modules(cases.__path__):
        more = import_module(f"families.cases.{file.name}").CASES
        assert not found.keys() & more.keys(), f"{file.name} has a case that another file has"
        found |= more
    return found


CASES = read_cases()
LESS_ONE = ("gemma", "gemma2-long-window", "gemma2-short-window", "gemma3", "gemma-embedding", "vaultgemma")


def settings(case: str) -> dict[str, Any]:
    """config.json of a case. What GPT-2, DBRX and OpenELM call otherwise is left out of theirs."""
    name, more = CASES[case]
    own = bool({"n_embd", "d_model", "model_dim"} & more.keys())
    shared = {key: value for key, value in DECODER.items() if not own or "token" in key or "vocab" in key}
    return deepcopy({"architectures": [name], **shared, **more})


def draw(case: str, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Norms and scales around 1 (some store norms less 1), matrices that keep the size of what they read."""
    rng = np.random.Generator(np.random.SFC64([7, zlib.crc32(f"{case} {name}".encode())]))
    values = rng.standard_normal(shape, np.float32)
    if "norm" in name.lower() or "ln_" in name or "scal" in name:
        less_one = case in LESS_ONE or ("linear_attn" not in name and case.startswith(("qwen35", "qwen3next")))
        centre = 0.0 if less_one or name.endswith("bias") else 1.0
        return (values * 0.2 + centre).astype(np.float32)
    if len(shape) < 2 or "bias" in name:
        return (values * 0.3).astype(np.float32)
    by_output = "c_" in name or (len(shape) == 3 and "conv" not in name)  # GPT-2's matrices are input by output
    fan_in = shape[0] if by_output else shape[-1]
    return (values / np.float32(1.0 if "embed" in name or "wte" in name else fan_in**0.5)).astype(np.float32)


def golden(case: str) -> tuple[dict[str, tuple[int, ...]], NDArray[np.float32]]:
    """Shapes of the folder's tensors, and the reference's logits (tokens, vocabulary) of IDS."""
    with np.load(GOLDEN / f"{case}.npz") as kept:
        shapes = json.loads(bytes(kept["shapes"]))
        return {name: tuple(shape) for name, shape in shapes.items()}, kept["logits"]


def write_weights(folder: Path, case: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """model.safetensors of a case."""
    from safetensors.numpy import save_file

    tensors = {name: np.ascontiguousarray(draw(case, name, shape)).reshape(shape) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
