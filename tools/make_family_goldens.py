"""Run the tiny models of tests/families in transformers and keep their logits: tests/golden/families/*.npz.

Of classes that transformers does not have, RWKV's are run by rwkv_reference.py, those of PLaMo and PLaMo 2 by
plamo_reference.py, GroveMoE by grovemoe_reference.py, the others by llama.cpp.

    python tools/make_family_goldens.py [--llama-cpp CHECKOUT] [case ...]

Needs transformers and torch (CPU); for classes of llama_cpp_reference.py llama-cpp-python and a checkout of llama.cpp.
A folder is written as transformers itself writes it, its tensors are replaced by drawn ones, and it is read back: names
and shapes are those of models that people download.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import grovemoe_reference
import llama_cpp_reference
import plamo_reference
import rwkv_reference
from families import CASES, GOLDEN, IDS, draw, settings, write_weights

NOT_AUTO = ("mistral4",)  # kinds of models whose decoder transformers has, but not by its configuration


def open_model(case: str, folder: Path) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """The model of a case, made in an empty folder, and the shapes of its tensors."""
    (folder / "config.json").write_text(json.dumps(settings(case)))
    config = AutoConfig.from_pretrained(folder)
    auto = AutoModelForImageTextToText if "vision_config" in settings(case) else AutoModelForCausalLM
    if config.model_type in NOT_AUTO:
        auto = getattr(transformers, settings(case)["architectures"][0])
        auto(config).save_pretrained(folder)
    else:
        auto.from_config(config).save_pretrained(folder)
    with safe_open(folder / "model.safetensors", "np") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    shapes = {key: shape for key, shape in shapes.items() if "visual." not in key and "vision_" not in key}
    write_weights(folder, case, shapes)
    (folder / "config.json").write_text(json.dumps(settings(case)))
    model = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model, shapes


def in_transformers(case: str) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """Logits (tokens, vocabulary) of IDS, and the shapes of the tensors."""
    with tempfile.TemporaryDirectory() as name:
        model, shapes = open_model(case, Path(name))
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].numpy(), shapes


def in_llama_cpp(case: str, checkout: Path) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """As `in_transformers`, of a folder that llama.cpp converts and runs."""
    shapes = llama_cpp_reference.shapes(settings(case))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_weights(folder, case, shapes)
        (folder / "config.json").write_text(json.dumps(settings(case)))
        llama_cpp_reference.converted(checkout, folder, folder / "m.gguf")
        return llama_cpp_reference.logits(folder / "m.gguf", IDS), shapes


def make_golden(case: str, checkout: Path | None) -> None:
    """Write the golden file of one case."""
    config = settings(case)
    if config["model_type"] in ("plamo", "plamo2"):
        shapes = llama_cpp_reference.shapes(config)
        tensors = {name: draw(case, name, shape) for name, shape in shapes.items()}
        logits = plamo_reference.logits(config, tensors, IDS).astype(np.float32)
    elif config["model_type"] == "grove_moe":
        with tempfile.TemporaryDirectory() as name:
            logits, shapes = grovemoe_reference.run(Path(name), case)
    elif config["architectures"][0] in llama_cpp_reference.LAYOUTS:
        if checkout is None:
            raise SystemExit(f"{case} is run by llama.cpp: give --llama-cpp CHECKOUT")
        logits, shapes = in_llama_cpp(case, checkout)
    elif "RWKV" in config["architectures"][0].upper():
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
    parser = argparse.ArgumentParser(description="Write goldens of the families.")
    parser.add_argument("--llama-cpp", type=Path, help="a checkout with convert_hf_to_gguf.py")
    parser.add_argument("case", nargs="*", choices=[[], *CASES])
    args = parser.parse_args()
    for case in args.case or CASES:
        make_golden(case, args.llama_cpp)


if __name__ == "__main__":
    main()
