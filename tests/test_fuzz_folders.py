"""Damaged Hugging Face folders and adapters; see test_fuzz.

What is read as JSON is held in memory, so that a lane reads hundreds to thousands of folders in a second. The default
lane of the tests draws a few inputs of each.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import cache
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import pytest
from families import CASES, golden, settings, write_weights
from families.converted import write_tokenizer
from folder_vocabularies import unigram, write_ranks
from fuzzing import Lane, altered, contract, damaged, lane, written  # noqa: F401  a fixture
from held_folder import HeldFolder
from hf_folders import write_bpe, write_json, write_spm
from lora_cases import golden as adapter_of
from lora_cases import write_adapter
from test_quantized_folders import GOLDEN, metadata
from vector_models import write_wordpiece

from llmlocal import tokenizer
from llmlocal.convert import hf_source
from llmlocal.convert.card import general_keys
from llmlocal.convert.vocabulary import read_vocabulary
from llmlocal.hf import names
from llmlocal.hf.config import Settings
from llmlocal.hf.folder import Folder
from llmlocal.hf.quantized import decoded
from llmlocal.hf.safetensors import Safetensors
from llmlocal.hf.streams import Stream
from llmlocal.lora import adapter as adapters
from llmlocal.quant.formats import load_all
from llmlocal.quantize.plan import plan_conversion

charsmap = import_module("tokenizer_vocabularies").charsmap
TEXT = "Hello <s> wörld  日本 12345\n\t"


def changed(content: bytes, rng: Random) -> bytes:
    """A JSON file with something hostile in it, or with damaged bytes."""
    return written(altered(json.loads(content), rng)) if rng.random() < 0.85 else damaged(content, rng)


# ---- tensors --------------------------------------------------------------------------------------------------------


def damaged_tensors(whole: bytes, rng: Random) -> bytes:
    """A safetensors file with a hostile header, or with damaged bytes."""
    if rng.random() < 0.3:
        return damaged(whole, rng)
    size = 8 + int.from_bytes(whole[:8], "little")
    packed = written(altered(json.loads(whole[8:size]), rng))
    return len(packed).to_bytes(8, "little") + packed + whole[size:]


def read_some(tensors: Mapping[str, Stream]) -> None:
    """The first rows of each tensor."""
    for x in tensors.values():
        for stream in (x, x.blocks):
            if stream is not None:
                stream.read(0, min(stream.rows, 3))


def test_headers_of_safetensors(lane: Lane, tmp_path: Path) -> None:  # noqa: F811
    path, whole = tmp_path / "model.safetensors", GOLDEN[0].read_bytes()
    for number, rng in lane("safetensors headers", 20_000):
        path.write_bytes(damaged_tensors(whole, rng))
        with contract(number), closing(Safetensors(path)) as file:
            read_some({name: x for name, x in file.tensors.items() if not x.format.startswith(("I", "U", "B"))})


def test_quantized_folders(lane: Lane, tmp_path: Path) -> None:  # noqa: F811
    """Settings and tensors of every method."""
    load_all()
    wholes = [(metadata(path)["quantization_config"], path.read_bytes()) for path in GOLDEN]
    path = tmp_path / "model.safetensors"
    for number, rng in lane("quantized folders", 5_000):
        quantization, whole = rng.choice(wholes)
        in_settings = rng.random() < 0.5
        config = json.loads(quantization)
        config = written({"quantization_config": altered(config, rng) if in_settings else config})
        path.write_bytes(whole if in_settings else damaged_tensors(whole, rng))
        with contract(number), closing(Safetensors(path)) as file:
            tensors = {name: x for name, x in file.tensors.items() if name != "expected"}
            read_some(decoded(Settings(HeldFolder({"config.json": config}, tmp_path), {}), tensors))


def test_adapters_of_peft(lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(adapters, "SECONDS", 0.05)
    config, shapes, _ = adapter_of("patterns")
    write_adapter(tmp_path, config, dict(list(shapes.items())[:4]))
    files = {name: (tmp_path / name).read_bytes() for name in ("adapter_config.json", "adapter_model.safetensors")}
    for number, rng in lane("adapters of peft", 5_000):
        name = rng.choice(list(files))
        content = changed(files[name], rng) if name.endswith("json") else damaged_tensors(files[name], rng)
        (tmp_path / name).write_bytes(content)
        with contract(number):
            adapters.read_adapter(tmp_path)
        (tmp_path / name).write_bytes(files[name])


# ---- vocabularies ---------------------------------------------------------------------------------------------------


def of_bpe(folder: Path) -> None:
    write_bpe(folder, words=["the"])


def of_unigram(folder: Path) -> None:
    replaced = b64encode(charsmap({"é": "e"})).decode()
    unigram(folder, [{"type": "Precompiled", "precompiled_charsmap": replaced}, {"type": "NFC"}], [])


def of_sentencepiece(folder: Path) -> None:
    write_spm(folder, few=True)


def of_tiktoken(folder: Path) -> None:
    write_ranks(folder, [b"t", b"h", b"e", b"i", b"n", b"th", b"the", b"in"])
    write_json(folder / "config.json", {"vocab_size": 270})


def of_rwkv(folder: Path) -> None:
    words = [bytes([byte]) for byte in range(32, 64)] + [b"\n\n", b"it's"]
    lines = [f"{i} {word.decode()!r} {len(word)}" for i, word in enumerate(words, 1)]
    (folder / "rwkv_vocab_v20230424.txt").write_text("\n".join(lines))


VOCABULARIES: dict[Callable[[Path], None], str] = {
    of_bpe: "",
    write_wordpiece: "",
    of_unigram: "",
    of_sentencepiece: "tokenizer.model",
    of_tiktoken: "tiktoken.model",
    of_rwkv: "rwkv_vocab_v20230424.txt",
}
BESIDE: dict[str, Any] = {
    "special_tokens_map.json": {"bos_token": {"content": "<s>"}, "additional_special_tokens": ["x", {"content": "y"}]},
    "generation_config.json": {"eos_token_id": [1, 2]},
    "added_tokens.json": {"<more>": 5, "more": 700},
    "config.json": {"eos_token_id": [2, 1], "text_config": None},
}


@pytest.mark.parametrize("write", VOCABULARIES, ids=lambda write: write.__name__)
def test_vocabularies(lane: Lane, tmp_path: Path, write: Callable[[Path], None]) -> None:  # noqa: F811
    """What `convert` reads of a tokenizer, and a text in its tokens."""
    write(tmp_path)
    for name, content in BESIDE.items():
        if not (tmp_path / name).exists():
            write_json(tmp_path / name, content)
    folder, own = HeldFolder.of(tmp_path), VOCABULARIES[write]
    files = [*sorted(path.name for path in tmp_path.glob("*.json")), *[own] * (3 if own else 0)]
    whole = (tmp_path / own).read_bytes() if own else b""

    def read(other: Folder) -> list[int]:
        keys = read_vocabulary(Settings(other, {}))
        plain = {key: value[1] if isinstance(value, tuple) else value for key, value in keys.items()}
        return tokenizer.load(plain).encode(TEXT)

    assert read(folder)
    for number, rng in lane(f"vocabularies {write.__name__}", 3_000):
        name = rng.choice(files)
        if name == own:
            (tmp_path / own).write_bytes(damaged(whole, rng))
        other = folder if name == own else folder.having(name, changed(folder.content(name), rng))
        with contract(number):
            read(other)
        if name == own:
            (tmp_path / own).write_bytes(whole)


CARD = b"""---
license: apache-2.0
base_model: [meta-llama/Llama-3.2-1B, &a x]
datasets: {a: *a, b: !!set {c}}
tags: [text-generation, 'q']
model-index:
- name: x
  results: []
---
# A model
"""


def test_cards(lane: Lane, tmp_path: Path) -> None:  # noqa: F811
    write_json(tmp_path / "config.json", {})
    for number, rng in lane("cards", 3_000):
        (tmp_path / "README.md").write_bytes(damaged(CARD, rng))
        with contract(number):
            general_keys(Folder(tmp_path), {})


# ---- whole folders --------------------------------------------------------------------------------------------------


def test_folders_of_every_family(lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """All that `convert` checks before it writes: settings, tokenizer, and the tensors' names and shapes."""
    monkeypatch.setattr(hf_source, "general_keys", lambda *_: {})  # cards have a lane of their own
    for module, name in ((hf_source, "classes"), (names, "_table")):  # the same for every input
        monkeypatch.setattr(module, name, cache(getattr(module, name)))

    @cache
    def of(case: str) -> tuple[HeldFolder, Safetensors]:
        (folder := tmp_path / case).mkdir()
        (folder / "config.json").write_text(json.dumps(settings(case)))
        write_weights(folder, case, golden(case)[0])
        write_tokenizer(folder)
        return HeldFolder.of(folder), files.enter_context(closing(Safetensors(folder / "model.safetensors")))

    with ExitStack() as files:
        for number, rng in lane("folders", 5_000):
            folder, file = of(rng.choice(list(CASES)))
            name = rng.choice(["config.json"] * 4 + ["tokenizer.json", "tokenizer_config.json"])
            other = folder.having(name, changed(folder.content(name), rng))
            with contract(number):
                plan_conversion(hf_source._source(other, file.tensors, []), "auto")
