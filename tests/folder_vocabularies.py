"""Folders with vocabularies of several kinds, and the keys that a file has of one."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

from hf_folders import write_json

from llmlocal.convert.vocabulary import read_vocabulary
from llmlocal.hf.config import Settings
from llmlocal.hf.folder import Folder

PREFIX = "tokenizer.ggml."


def vocabulary(folder: Path) -> dict[str, Any]:
    """The keys, without types."""
    keys = read_vocabulary(Settings(Folder(folder), {}))
    return {key: value[1] if isinstance(value, tuple) else value for key, value in keys.items()}


def plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def unigram(folder: Path, normalizers: list[Any], pretokenizers: list[Any], **config: Any) -> Settings:
    """A folder with a Unigram vocabulary whose texts are prepared by these steps."""
    pieces = [[text, -float(i)] for i, text in enumerate(("<unk>", "▁", "e", "é", "t"))]
    content: dict[str, Any] = {"model": {"type": "Unigram", "unk_id": 0, "vocab": pieces}}
    for name, kind, parts in (
        ("normalizer", "normalizers", normalizers),
        ("pre_tokenizer", "pretokenizers", [*pretokenizers, {"type": "Metaspace", "prepend_scheme": "always"}]),
    ):
        content[name] = {"type": "Sequence", kind: parts}
    write_json(folder / "tokenizer.json", content)
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "config.json", {"eos_token_id": 0, "unk_token_id": 0, "pad_token_id": 0})
    return Settings(Folder(folder), {})


def write_ranks(folder: Path, tokens: list[bytes]) -> None:
    lines = [f"{b64encode(token).decode()} {rank}" for rank, token in enumerate(tokens)]
    (folder / "tiktoken.model").write_text("\n".join(lines) + "\n")
    named = ["tokenization_kimi.TikTokenTokenizer", None]
    added = {"6001": {"content": "[EOS]", "special": True}, "6003": {"content": "<|im_end|>", "special": True}}
    config = {"auto_map": {"AutoTokenizer": named}, "added_tokens_decoder": added, "eos_token": "[EOS]"}
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "config.json", {"vocab_size": 6300})
