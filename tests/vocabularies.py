"""Vocabularies for tests: small ones from a few lines, real ones from the shared data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

DATA = Path(os.environ.get("LLMLOCAL_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
N_FIXED = 3 + len(BYTES)


def spm(*words: str, **over: Any) -> dict[str, Any]:
    """Metadata of a byte-complete `llama` vocabulary: 3 special tokens, 256 bytes, `words` by falling score.

    `over` replaces keys, without their prefix; None leaves one out.
    """
    tokens = ["<unk>", "<s>", "</s>", *BYTES, *words]
    metadata = {
        "model": "llama",
        "tokens": tokens,
        "scores": [-float(id) for id in range(len(tokens))],
        "token_type": [2, 3, 3] + [6] * len(BYTES) + [1] * len(words),
        **over,
    }
    return {"tokenizer.ggml." + key: value for key, value in metadata.items() if value is not None}


def real(name: str) -> Path:
    """Path of a file in the shared data; skips the test where there is none."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no {path} (set LLMLOCAL_TEST_DATA)")
    return path


def golden(name: str) -> tuple[Path, list[tuple[str, list[int]]]]:
    """A vocabulary's GGUF and its pairs of text and ids, as llama.cpp's tests keep them."""
    path = real(f"vocab/ggml-vocab-{name}.gguf")
    texts = path.with_name(path.name + ".inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")[:-1]
    lines = path.with_name(path.name + ".out").read_text().splitlines()
    return path, [(text, [int(id) for id in line.split()]) for text, line in zip(texts, lines, strict=True)]
