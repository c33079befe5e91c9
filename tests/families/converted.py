"""Folders of the tiny models, and the GGUF files they are converted into."""

from __future__ import annotations

import json
from pathlib import Path

from hf_folders import write_bpe

from families import VOCAB, golden, settings, write_weights
from llmlocal.quantize.convert import convert_model

BOUND = 1e-6
EXACT = "f32"  # a cache that rounds nothing: what half floats round would hide smaller faults


def write_tokenizer(folder: Path) -> None:
    """A tokenizer cut to VOCAB tokens: texts do not matter here."""
    write_bpe(folder)
    t = json.loads((folder / "tokenizer.json").read_text())
    added = t["added_tokens"]
    kept = [*list(t["model"]["vocab"])[: VOCAB - len(added) - 1], "!!"]
    t["model"] |= {"vocab": {token: i for i, token in enumerate(kept)}, "merges": [["!", "!"]]}
    for i, token in enumerate(added):
        token["id"] = len(kept) + i
    first = t["post_processor"]["processors"][1]["special_tokens"]
    first[added[0]["content"]]["ids"] = [len(kept)]
    (folder / "tokenizer.json").write_text(json.dumps(t))


def write_folder(case: str, folder: Path) -> None:
    """The case's settings, weights and tokenizer."""
    (folder / "config.json").write_text(json.dumps(settings(case)))
    write_weights(folder, case, golden(case)[0])
    write_tokenizer(folder)


def write_converted(case: str, folder: Path) -> Path:
    """The case's folder, converted."""
    write_folder(case, folder)
    return convert_model(folder, folder / "m.gguf", "F32").path
