"""Run the tiny models of tests/families.py in transformers and keep their logits: tests/golden/families/*.npz.

Those of RWKV, whose classes transformers does not have, are run by rwkv_reference.py.

    python tools/make_family_goldens.py [case ...]

Needs transformers and torch (CPU). A folder is written as transformers itself writes it, its tensors are replaced by
drawn ones, and it is read back: names and shapes are those of models that people download.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import rwkv_reference
from families import CASES, GOLDEN, IDS, draw, settings, write_weights


def open_model(case: str, folder: Path) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """The model of a case, made in an empty folder, and the shapes of its tensors."""
    (folder / "config.json").write_text(json.dumps(settings(case)))
    config = AutoConfig.from_pretrained(folder)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    with safe_open(folder / "model.safetensors", "np") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    write_weights(folder, case, shapes)
    (folder / "config.json").write_text(json.dumps(settings(case)))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model, shapes


def in_transformers(case: str) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """Logits (tokens, vocabulary) of IDS, and the shapes of the tensors."""
    with tempfile.TemporaryDirectory() as name:
        model, shapes = open_model(case, Path(name))
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].numpy(), shapes


def make_golden(case: str) -> None:
    """Write the golden file of one case."""
    config = settings(case)
    if "RWKV" in config["architectures"][0].upper():
        shapes = rwkv_reference.shapes(config)
        tensors = {name: draw(case, name, shape) for name, shape in shapes.items()}
        logits = rwkv_reference.logits(config, tensors, IDS).astype(np.float32)
    else:
        logits, shapes = in_transformers(case)
    GOLDEN.mkdir(parents=True, exist_ok=True)
    text = np.frombuffer(json.dumps(shapes).encode(), np.uint8)
    np.savez_compressed(GOLDEN / f"{case}.npz", shapes=text, logits=logits)
    print(f"{case}: {len(shapes)} tensors, logits of spread {logits.std():.2f}")


def main() -> None:
    for case in sys.argv[1:] or CASES:
        make_golden(case)


if __name__ == "__main__":
    main()
