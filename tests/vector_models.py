"""Tiny encoders, rerankers and a model with masks as files, and the vectors of `embed --json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from encoder_cases import golden, settings
from families import VOCAB, write_weights
from numpy.typing import NDArray

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["a", "cat", "dog", "the", "sat", "##s", "on", "mat", "query", ":", ".", "in", "house", "red", "blue", "big"]
MODULES = [{"type": f"sentence_transformers.models.{kind}"} for kind in ("Transformer", "Pooling", "Normalize")]
PROMPTS = {"query": "query: ", "plain": ""}


def ids(*words: str) -> list[int]:
    return [(SPECIAL + WORDS).index(word) for word in words]


def write_wordpiece(folder: Path) -> None:
    """A tokenizer.json of BERT's kind with VOCAB tokens."""
    tokens = [*SPECIAL, *WORDS]
    tokens += [f"[unused{i}]" for i in range(VOCAB - len(tokens))]
    added = [{"id": i, "content": text, "special": True} for i, text in enumerate(SPECIAL)]
    ends = [{"SpecialToken": {"id": text, "type_id": 0}} for text in ("[CLS]", "[SEP]")]
    single = [ends[0], {"Sequence": {"id": "A", "type_id": 0}}, ends[1]]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}, ends[1]]
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    tokenizer = {
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "lowercase": True, "strip_accents": None},
        "post_processor": {"type": "TemplateProcessing", "single": single, "pair": pair},
        "model": model | {"vocab": {token: i for i, token in enumerate(tokens)}},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    names = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))


def write_model(case: str, folder: Path) -> Path:
    (folder / "config.json").write_text(json.dumps(settings(case)))
    write_weights(folder, case, golden(case)[0])
    write_wordpiece(folder)
    return folder


def write_sentence_files(folder: Path, *, pooling: dict[str, Any] | None = None, modules: Any = MODULES) -> None:
    """What sentence-transformers keeps beside a model."""
    paths = ["", "1_Pooling", "2_Normalize"]
    listed = [module | {"path": path} for module, path in zip(modules, paths, strict=False)]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    mode = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True} if pooling is None else pooling
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(mode))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 20}))
    config = {"prompts": PROMPTS, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config))


def unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def vectors(out: str) -> NDArray[np.float64]:
    return np.array([json.loads(line)["embedding"] for line in out.splitlines()])


TEXTS = ["A cat", "the dogs sat on the mat.", "zebra"]
TEXT_IDS = [
    ids("[CLS]", "a", "cat", "[SEP]"),
    ids("[CLS]", "the", "dog", "##s", "sat", "on", "the", "mat", ".", "[SEP]"),
    ids("[CLS]", "[UNK]", "[SEP]"),
]
