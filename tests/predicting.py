"""Tiny models with a block that predicts further tokens (MTP), in folders as they are published, and converted."""

from __future__ import annotations

import json
from pathlib import Path

from families import golden, settings, write_weights
from families.converted import write_tokenizer

from llmlocal.quantize.convert import convert_model

CASES = ("qwen35", "qwen35moe", "qwen3next", "glm4moe", "deepseek2-v3")
APART = ("qwen35", "qwen35moe", "qwen3next")  # whose block has a part of its own in the folder
WIDTH = 32


def write_predicting(case: str, folder: Path, *, whole: bool = True) -> None:
    """The case's folder with such a block: what it has in common with the last one, and its own tensors.

    Unless `whole`, its projection is missing.
    """
    shapes, blocks = golden(case)[0], settings(case)["num_hidden_layers"]
    last, behind = f"model.layers.{blocks - 1}.", f"model.layers.{blocks}."
    block = "mtp.layers.0." if case in APART else behind
    more = {name.replace(last, block): shape for name, shape in shapes.items() if name.startswith(last)}
    vector, vocab = (WIDTH,), shapes["model.embed_tokens.weight"]
    if case in APART:
        own = {"pre_fc_norm_embedding": vector, "pre_fc_norm_hidden": vector, "norm": vector}
        own |= {"fc": (WIDTH, 2 * WIDTH)} if whole else {}
        more |= {f"mtp.{name}.weight": shape for name, shape in own.items()}
    else:
        own = {"enorm": vector, "hnorm": vector, "shared_head.norm": vector}
        own |= {"shared_head.head": vocab, "embed_tokens": vocab}
        own |= {"eh_proj": (WIDTH, 2 * WIDTH)} if whole else {}
        more |= {f"{behind}{name}.weight": shape for name, shape in own.items()}
    (folder / "config.json").write_text(json.dumps(settings(case) | {"num_nextn_predict_layers": 1}))
    write_weights(folder, case, shapes | more)
    write_tokenizer(folder)


def convert_predicting(case: str, folder: Path, form: str = "F32") -> Path:
    """The case's folder, converted."""
    write_predicting(case, folder)
    return convert_model(folder, folder / "m.gguf", form).path
