"""Damaged models of every architecture, and damaged vocabularies, in memory; see test_fuzz.

All that is checked before the first kernel: none is compiled. The default lane of the tests draws a few inputs of each.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_cases import CASES as ENCODERS
from encoder_folders import write_folder as write_encoder
from families import CASES
from families.converted import write_converted
from fuzzing import Lane, contract, damaged, lane  # noqa: F401  a fixture
from gguf_bytes import F32, STRING, entry
from held_model import HeldModel, Parts, Tensor
from test_tokenizer_plamo import plamo
from test_tokenizer_rwkv import rwkv
from vocabularies import bert, bpe, spm, unigram

from llmlocal import tokenizer
from llmlocal.encoder import Encoder
from llmlocal.engine import Engine
from llmlocal.errors import LlmlocalError
from llmlocal.gguf.writer import write_gguf
from llmlocal.layers.low_rank import Change
from llmlocal.lora import adapter as adapters
from llmlocal.lora import run_time
from llmlocal.model_info.describe import describe
from llmlocal.quantize.convert import convert_model

Patch = pytest.MonkeyPatch


class Checked(LlmlocalError, exit_code=0):
    """A model has been checked, and its kernels would come next."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the models of a case are made of, by the case's name."""

    @cache
    def of(case: str) -> Parts:
        folder = tmp_path_factory.mktemp(case)
        if case not in ENCODERS:
            return Parts.of(write_converted(case, folder))
        write_encoder(case, folder)
        return Parts.of(convert_model(folder, folder / "m.gguf", "F32").path)

    return of


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """Where a model in memory says that it lies."""
    (tmp_path / "model.gguf").touch()
    return tmp_path / "model.gguf"


def test_models_of_every_architecture(lane: Lane, parts: Any, nowhere: Path) -> None:  # noqa: F811
    """An entry or a tensor is another one, and what follows from it is checked."""
    for number, rng in lane("models", 5_000):
        whole = parts(rng.choice(list(CASES)))
        with contract(number):
            model = HeldModel(whole.changed(rng).written(), nowhere)
            describe(model)
            tokenizer.load(model.metadata)
            Engine.open(model, n_ctx=32, n_threads=1, ubatch=8, load=False).close()


def test_encoders_of_every_architecture(lane: Lane, parts: Any, nowhere: Path, monkeypatch: Patch) -> None:  # noqa: F811
    def stop(*_: Any) -> None:
        raise Checked("kernels would be compiled now")

    monkeypatch.setattr("llmlocal.encoder.prepare", stop)
    for number, rng in lane("encoders", 2_000):
        whole = parts(rng.choice(list(ENCODERS)))
        with contract(number):
            model = HeldModel(whole.changed(rng).written(), nowhere)
            describe(model)
            Encoder(model, rng.choice(["mean", "cls", "last"]), 32, 1)


def test_headers_of_models(lane: Lane, parts: Any, nowhere: Path) -> None:  # noqa: F811
    """Bytes of a header are others: what is found before it is known what keys mean."""
    for number, rng in lane("headers of models", 20_000):
        whole = parts(rng.choice(list(CASES)))
        data = whole.written()
        head = len(data) - len(data) // 2
        with contract(number):
            describe(HeldModel(damaged(data[:head], rng) + data[head:], nowhere))


ADAPTED = ("token_embd.weight", "blk.0.attn_q.weight", "blk.1.ffn_down.weight")
RANK = 4


def adapter_of(model: HeldModel) -> Parts:
    """A LoRA adapter of some tensors; an embedding's factors are stored transposed."""
    texts = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"}
    entries = {key: entry(key, STRING, text) for key, text in texts.items()}
    entries["adapter.lora.alpha"] = entry("adapter.lora.alpha", F32, 8.0)
    tensors = []
    for name in ADAPTED:
        rows, k = model.tensors[name].shape
        a, b = ((RANK, rows), (RANK, k)) if name == ADAPTED[0] else ((k, RANK), (RANK, rows))
        tensors += [Tensor(f"{name}.lora_a", a, 0), Tensor(f"{name}.lora_b", b, 0)]
    return Parts(entries, tuple(tensors))


def test_adapters_of_files(lane: Lane, parts: Any, nowhere: Path) -> None:  # noqa: F811
    """Entries, factors and their values; what is left can be added to the model."""
    model = HeldModel(parts("llama").written(), nowhere)
    whole = adapter_of(model)
    path, head = nowhere.with_name("adapter.gguf"), len(whole.written(0))

    def read(data: bytes, scale: float) -> list[tuple[str, Change]]:
        return list(run_time._changes(model, adapters._read_gguf(HeldModel(data, path), "adapter"), scale))

    assert [name for name, _ in read(whole.written(), 1.0)] == sorted(ADAPTED)
    for number, rng in lane("adapters of files", 10_000):
        data = whole.changed(rng).written() if rng.random() < 0.7 else whole.written()
        values = damaged(data[head:], rng) if rng.random() < 0.3 else data[head:]
        with contract(number):
            for name, change in read(data[:head] + values, rng.choice([0.0, 1.0, -1e30])):
                assert (len(change.b), change.a.shape[1]) == model.tensors[name].shape and np.isfinite(change.b).all()


charsmap = import_module("tokenizer_vocabularies").charsmap
REPLACED = [*charsmap({"é": "e"})]
WORDS = ("▁the", "▁a", "th", "e")
VOCABULARIES: dict[str, dict[str, Any]] = {
    "spm": spm(*WORDS, unknown_token_id=0),
    "bpe": bpe("t h", "th e", more=["<|end|>"], add_bos_token=True),
    "bert": bert("▁the", "s", "▁cat", token_type_count=2),
    "unigram": unigram({"▁the": -2.0, "▁": -3.0, "t": -4.0}, precompiled_charsmap=REPLACED, unknown_token_id=2),
    "rwkv": rwkv("the", "it"),
    "plamo": plamo({"the": -1.0, "t": -2.0}),
}


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_vocabularies_of_files(lane: Lane, tmp_path: Path, kind: str) -> None:  # noqa: F811
    """Keys of a vocabulary with hostile values, and a text in its tokens and back."""
    text = "Hello <s> wörld  the\n\x00\U0001f600\u0301"
    write_gguf(path := tmp_path / "model.gguf", VOCABULARIES[kind], ())
    whole = Parts.of(path)

    def read(data: bytes) -> None:
        words = tokenizer.load(HeldModel(data, path).metadata)
        ids = words.encode(text)
        assert all(0 <= id < words.n_vocab for id in ids)
        words.decode(ids)

    read(whole.written())
    for number, rng in lane(f"vocabulary {kind}", 5_000):
        with contract(number):
            read(whole.changed(rng).written())
