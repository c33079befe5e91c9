"""Run the tiny encoders of tests/encoder_cases.py in transformers and keep the results: tests/golden/encoders/*.npz.

    python tools/make_encoder_goldens.py [case ...]

Needs transformers and torch (CPU). As `make_family_goldens`; each text runs alone, so that nothing is padded. What
transformers does not have is in `encoder_references`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from encoder_references import REFERENCES
from safetensors import safe_open
from safetensors.torch import load_file

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from encoder_cases import (
    ANSWER,
    ANSWERING,
    CASES,
    GOLDEN,
    PAIR,
    PIECES,
    PUBLISHED_WITH_CODE,
    TEXTS,
    TOKENIZER_FILES,
    TOKENIZERS,
    TYPES,
    WORDS,
    result_of,
    settings,
)
from families import write_weights


def make_golden(case: str) -> None:
    """Write the golden file of one case."""
    if case in PUBLISHED_WITH_CODE:
        return make_golden_by_reference(case)
    kind: Any = getattr(transformers, settings(case)["architectures"][0])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(settings(case)))
        config = transformers.AutoConfig.from_pretrained(folder)
        kind(config).save_pretrained(folder)
        with safe_open(folder / "model.safetensors", "np") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        if case in ANSWERING and settings(case).get("tie_word_embeddings") is False:
            shapes["lm_head.weight"] = shapes["shared.weight"]  # as published, which transformers 5 does not write
        write_weights(folder, case, shapes)
        (folder / "config.json").write_text(json.dumps(settings(case)))
        model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    paired, rows = settings(case).get("type_vocab_size", 1) > 1 or case.startswith("xlnet"), []
    for ids, types in zip(TEXTS, TYPES, strict=True):
        given = {"token_type_ids": torch.tensor([types])} if paired else {}
        if case in ANSWERING:
            start = settings(case)["decoder_start_token_id"]
            given = {"decoder_input_ids": torch.tensor([[start, *ANSWER]])}
        with torch.no_grad():
            out = model(torch.tensor([ids]), **given)
        if case in ANSWERING:
            rows.append(out.logits)
            continue
        rows.append(
            out.last_hidden_state[0] if result_of(case) == "states" else out.logits.reshape(-1, out.logits.shape[-1])
        )
    keep(case, shapes, torch.cat(rows).numpy())


def make_golden_by_reference(case: str) -> None:
    """As `make_golden`, of a model that is not in transformers."""
    shapes_of, run = REFERENCES[settings(case)["architectures"][0]]
    shapes = shapes_of(settings(case))
    with tempfile.TemporaryDirectory() as name:
        write_weights(Path(name), case, shapes)
        weights = {key: x.double() for key, x in load_file(Path(name) / "model.safetensors").items()}
    paired = settings(case).get("type_vocab_size", 1) > 1
    texts = zip(TEXTS, TYPES if paired else [[0] * len(ids) for ids in TEXTS], strict=True)
    rows = [run(weights, settings(case), torch.tensor(ids), torch.tensor(types)) for ids, types in texts]
    keep(case, shapes, torch.cat(rows).float().numpy())


def keep(case: str, shapes: dict[str, tuple[int, ...]], result: np.ndarray) -> None:
    """Write the golden file of a case."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    text = np.frombuffer(json.dumps(shapes).encode(), np.uint8)
    np.savez_compressed(GOLDEN / f"{case}.npz", shapes=text, result=result)
    print(f"{case}: {len(shapes)} tensors, {result_of(case)} {result.shape} of spread {result.std():.2f}")


def make_tokenizer(kind: str) -> None:
    """Write a small tokenizer of a kind, as transformers saves it, and the ids that it gives."""
    name, first, more = TOKENIZERS[kind]
    tokenizer = getattr(transformers, name)(vocab=[*((text, 0.0) for text in first), *PIECES], **more)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = {name: json.loads((Path(folder) / name).read_text()) for name in TOKENIZER_FILES}
    ids = {text: tokenizer(text)["input_ids"] for text in WORDS}
    kept = {"files": files, "ids": ids, "pair": tokenizer(*PAIR)["input_ids"]}
    (GOLDEN / f"{kind}.json").write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def main() -> None:
    for case in sys.argv[1:] or [*CASES, *ANSWERING, *TOKENIZERS]:
        make_tokenizer(case) if case in TOKENIZERS else make_golden(case)


if __name__ == "__main__":
    main()
