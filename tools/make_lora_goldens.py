"""Run the adapters of tests/lora_cases.py in PEFT and keep their settings and logits: tests/golden/lora/*.npz.

    python tools/make_lora_goldens.py [case ...]

Needs peft, transformers and torch (CPU). An adapter is written as PEFT itself writes it, its factors are replaced by
drawn ones, and it is read back: names, shapes and settings are those of adapters that people share.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from make_family_goldens import open_model
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from families import IDS
from lora_cases import CASES, GOLDEN, write_adapter


def make_golden(case: str) -> None:
    """Write the golden file of one case."""
    family, settings = CASES[case]
    with tempfile.TemporaryDirectory() as name:
        folder, adapter = Path(name) / "model", Path(name) / "adapter"
        folder.mkdir()
        model, _ = open_model(family, folder)
        get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings)).save_pretrained(adapter)
        with safe_open(adapter / "adapter_model.safetensors", "np") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys() if "lora_" in key}  # noqa: SIM118
        config = json.loads((adapter / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = ""
        write_adapter(adapter, config, shapes)
        tuned = PeftModel.from_pretrained(open_model(family, folder)[0], adapter)
    with torch.no_grad():
        logits = tuned(torch.tensor([IDS])).logits[0].numpy()
    GOLDEN.mkdir(parents=True, exist_ok=True)
    about, named = (np.frombuffer(json.dumps(x).encode(), np.uint8) for x in (config, shapes))
    np.savez_compressed(GOLDEN / f"{case}.npz", config=about, shapes=named, logits=logits)
    print(f"{case}: {len(shapes)} tensors, logits of spread {logits.std():.2f}")


def main() -> None:
    for case in sys.argv[1:] or CASES:
        make_golden(case)


if __name__ == "__main__":
    main()
