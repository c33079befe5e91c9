"""Run tiny assistants of Gemma 4 in transformers and keep what they propose: tests/golden/assistants/*.npz.

    python tools/make_assistant_goldens.py [case ...]

Needs transformers and torch (CPU). The models are those of tests/families, their assistants those of tests/assisted.py.
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
from safetensors import safe_open
from transformers import AutoConfig, Gemma4AssistantForCausalLM

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from assisted import CASES, CLUSTERED, LENGTHS, ORDERING, STEPS, add_order, assistant_settings
from families import GOLDEN, IDS, write_weights
from make_family_goldens import open_model


def open_assistant(case: str, folder: Path, *, clusters: bool) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """The assistant of a case, made in an empty folder, and the shapes of its tensors."""
    config = json.dumps(assistant_settings(case, clusters=clusters))
    (folder / "config.json").write_text(config)
    Gemma4AssistantForCausalLM(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    with safe_open(folder / "model.safetensors", "np") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    shapes.pop(ORDERING, None)
    write_weights(folder, f"{case}-assistant", shapes)
    if clusters:
        add_order(folder / "model.safetensors")
    (folder / "config.json").write_text(config)
    how = {"dtype": torch.float32, "attn_implementation": "eager"}
    return Gemma4AssistantForCausalLM.from_pretrained(folder, **how), shapes


def proposed(model: Any, assistant: Any, ids: list[int], window: int) -> tuple[list[Any], list[Any]]:
    """Logits and states after a text, of STEPS tokens each.

    The model has read all but the last token. Layers with a window give the keys of the last `window` tokens, as its
    cache does while it decodes.
    """
    out = model(torch.tensor([ids[:-1]]), output_hidden_states=True, return_shared_kv_states=True)
    keys = dict(out.shared_kv_states)
    keys["sliding_attention"] = tuple(x[:, :, -window:] for x in keys["sliding_attention"])
    state, token = out.hidden_states[-1][:, -1:], torch.tensor([ids[-1:]])
    logits, states = [], []
    for _ in range(STEPS):
        pair = torch.cat([model.get_input_embeddings()(token), state], -1)
        at = torch.tensor([[len(ids) - 1]])
        made = assistant(inputs_embeds=pair, position_ids=at, shared_kv_states=keys)
        state, token = made.last_hidden_state, made.logits.argmax(-1)
        logits.append(made.logits[0, 0].numpy())
        states.append(state[0, 0].numpy())
    return logits, states


def make_golden(case: str, *, clusters: bool = False) -> None:
    """Write the golden file of one case."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other, torch.no_grad():
        model, _ = open_model(case, Path(one))
        assistant, shapes = open_assistant(case, Path(other), clusters=clusters)
        window = assistant_settings(case)["text_config"]["sliding_window"]
        made = [proposed(model, assistant, IDS[:length], window) for length in LENGTHS]
    logits, states = (np.array(some) for some in zip(*made, strict=True))
    folder = GOLDEN.parent / "assistants"
    folder.mkdir(parents=True, exist_ok=True)
    text = np.frombuffer(json.dumps(shapes).encode(), np.uint8)
    np.savez_compressed(folder / f"{case}{'-clusters' * clusters}.npz", shapes=text, logits=logits, states=states)
    print(f"{case}: {len(shapes)} tensors, logits of spread {logits.std():.2f}, {logits.argmax(-1).tolist()}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write goldens of the assistants of Gemma 4.")
    parser.add_argument("case", nargs="*", choices=[[], *CASES])
    for case in parser.parse_args().case or CASES:
        make_golden(case)
        if case == CLUSTERED:
            make_golden(case, clusters=True)


if __name__ == "__main__":
    main()
