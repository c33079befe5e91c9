"""Vocabularies for tests: small ones from a few lines, real ones from the shared data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from llmlocal.gguf.reader import open_gguf
from llmlocal.tokenizer import Tokenizer, load
from llmlocal.tokenizer.bpe import SIGNS

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
    return keys(metadata)


def bpe(*merges: str, more: Sequence[str] = (), **over: Any) -> dict[str, Any]:
    """Metadata of a byte-complete `gpt2` vocabulary: 256 signs, the results of `merges`, `more` tokens, `<s>` last."""
    tokens = [*dict.fromkeys((*SIGNS, *(merge.replace(" ", "") for merge in merges), *more)), "<s>"]
    types = [1] * (len(tokens) - 1) + [3]
    ids = {"bos_token_id": len(tokens) - 1, "eos_token_id": len(tokens) - 1}
    return keys(
        {"model": "gpt2", "pre": "gpt-2", "tokens": tokens, "token_type": types, "merges": list(merges), **ids, **over}
    )


def bert(*words: str, **over: Any) -> dict[str, Any]:
    """Metadata of a `bert` vocabulary: five special tokens, then `words`."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    ids = {"padding": 0, "unknown": 1, "bos": 2, "seperator": 3, "mask": 4}
    types = [3] * 5 + [1] * len(words)
    named = {f"{name}_token_id": id for name, id in ids.items()}
    return keys({"model": "bert", "tokens": tokens, "token_type": types, **named, **over})


def unigram(words: Mapping[str, float], **over: Any) -> dict[str, Any]:
    """Metadata of a `t5` vocabulary: `<pad>`, `</s>`, `<unk>`, then `words` with their scores."""
    tokens, scores = ["<pad>", "</s>", "<unk>", *words], [0.0, 0.0, 0.0, *words.values()]
    types = [3, 3, 2] + [1] * len(words)
    return keys({"model": "t5", "tokens": tokens, "scores": scores, "token_type": types, **over})


def keys(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata with the tokenizer's prefix; None leaves a key out."""
    return {"tokenizer.ggml." + key: value for key, value in metadata.items() if value is not None}


@cache
def real_tokenizer(name: str) -> Tokenizer:
    """The tokenizer of one of the vocabularies in the shared data."""
    with open_gguf(real(f"vocab/ggml-vocab-{name}.gguf")) as file:
        return load(file.metadata)


def real(name: str) -> Path:
    """Path of a file in the shared data; skips the test where there is none."""
    path = DATA / name
    if not path.exists():
        import pytest  # half of the time that a scripted chat takes to start

        pytest.skip(f"no {path} (set LLMLOCAL_TEST_DATA)")
    return path


def golden(name: str) -> tuple[Path, list[tuple[str, list[int]]]]:
    """A vocabulary's GGUF and its pairs of text and ids, as llama.cpp's tests keep them."""
    path = real(f"vocab/ggml-vocab-{name}.gguf")
    texts = path.with_name(path.name + ".inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")[:-1]
    lines = path.with_name(path.name + ".out").read_text().splitlines()
    return path, [(text, [int(id) for id in line.split()]) for text, line in zip(texts, lines, strict=True)]
