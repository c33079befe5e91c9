"""Prefixes on disk: the same logits as without, used only when they are whole and fit, never more than the limit."""

from __future__ import annotations

import json
import os
import stat
import sys
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from test_imports import MODULES, edges

from llmlocal.engine import Engine
from llmlocal.errors import BadFileError
from llmlocal.files import content_digest
from llmlocal.generation import prompt_cache
from llmlocal.generation.prompt_cache import DIGEST, MAGIC, MIN_TOKENS, PromptCache
from llmlocal.gguf import open_gguf
from llmlocal.quant.jit import cache

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")
N = 200  # tokens of the prompt


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models that differ in their weights alone."""
    folder = tmp_path_factory.mktemp("models")
    for seed in (1, 2):
        make_model.make_model("tiny-llama", folder / f"{seed}.gguf", seed=seed)
    return [folder / "1.gguf", folder / "2.gguf"]


@pytest.fixture
def engine(models: list[Path]) -> Any:
    made: list[Engine] = []

    def make(model: int = 0, n_ctx: int = 512) -> Engine:
        made.append(Engine.open(models[model], n_ctx=n_ctx, n_threads=1))
        return made[-1]

    yield make
    for e in made:
        e.close()


def ids(n: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(3, 500, n).tolist()


def kept(place: Path, engine: Any, prompt: list[int]) -> Any:
    """Logits after a prompt, which is then kept."""
    e = engine()
    logits = e.prefill(prompt)
    PromptCache(place).store(e)
    return logits


def test_logits_are_the_same_to_the_last_bit(tmp_path: Path, engine: Any) -> None:
    prompt = ids(N)
    expected = kept(tmp_path, engine, prompt)
    e = engine()
    e.prefill(prompt[:-1])
    e.truncate(N - 1)
    expected_last = e.prefill(prompt[-1:])
    fresh = engine()
    assert PromptCache(tmp_path).restore(fresh, prompt) == N - 1
    assert fresh.length() == N - 1
    got = fresh.prefill(prompt[-1:])
    assert (got == expected_last).all()
    assert np.abs(got - expected).max() < 3e-3  # a token alone is multiplied as bytes


@pytest.mark.parametrize("shared", [MIN_TOKENS, 150, N - 1])
def test_part_of_a_prefix_serves_a_prompt_that_goes_on_otherwise(tmp_path: Path, engine: Any, shared: int) -> None:
    kept(tmp_path, engine, ids(N))
    prompt = [*ids(N)[:shared], 7, 8, 9]
    assert prompt[shared] != ids(N)[shared] or shared == N - 1
    e, other = engine(n_ctx=300), engine()
    assert PromptCache(tmp_path).restore(e, prompt) == shared
    other.prefill(prompt[:shared])
    assert (e.prefill(prompt[shared:]) == other.prefill(prompt[shared:])).all() or np.allclose(
        e._logits, other._logits, atol=1e-3
    )
    assert e.history() == prompt


def test_little_is_not_worth_while(tmp_path: Path, engine: Any) -> None:
    kept(tmp_path, engine, ids(MIN_TOKENS - 1))
    assert not list(tmp_path.iterdir())
    kept(tmp_path, engine, ids(N))
    assert PromptCache(tmp_path).restore(engine(), [*ids(N)[: MIN_TOKENS - 1], *[5] * 50]) == 0
    e = engine()
    e.prefill(ids(N)[:100])
    assert PromptCache(tmp_path).restore(e, ids(N)) == 0  # 99 tokens more are read as fast
    assert e.length() == 100


def test_other_models_and_formats_are_not_used(tmp_path: Path, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path, engine, ids(N))
    assert PromptCache(tmp_path).restore(engine(model=1), ids(N)) == 0
    monkeypatch.setattr(Engine, "cache_format", "Q8_0")
    assert PromptCache(tmp_path).restore(engine(), ids(N)) == 0


def changed(path: Path, at: int) -> None:
    """Flip a bit where the samples of former versions did not look; the file keeps its name and size."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def test_a_model_that_differs_in_one_bit_is_another(tmp_path: Path, models: list[Path]) -> None:
    """Metadata that is not the architecture's, and the middle of a tensor."""
    seen = set()
    with open_gguf(models[0]) as gguf:
        largest = max(gguf.tensors.values(), key=lambda tensor: tensor.nbytes)
        middle = models[0].read_bytes().index(largest.data) + largest.nbytes // 3
    for spot in (None, middle, models[0].read_bytes().index(b"general.name") + 5):
        path = tmp_path / "copy.gguf"
        path.write_bytes(models[0].read_bytes())
        if spot is not None:
            changed(path, spot)
        with open_gguf(path) as gguf:
            seen.add(prompt_cache.identity(gguf, 512))
    assert len(seen) == 3 and None not in seen


def test_digest_is_computed_once_for_a_file_and_never_before_an_answer(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMLOCAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(prompt_cache, "AT_ONCE", 0)
    path = tmp_path / "model.gguf"
    path.write_bytes(models[0].read_bytes())

    def found(*, wait: bool) -> str | None:
        with open_gguf(path) as gguf:
            return prompt_cache.identity(gguf, 512, wait=wait)

    fresh = found(wait=True)
    assert fresh and found(wait=False) is None  # so young that it could change without a new time
    monkeypatch.setattr(content_digest, "SETTLED", -1)
    assert found(wait=True) == fresh
    monkeypatch.setattr(content_digest.hashlib, "sha256", Mock(side_effect=content_digest.hashlib.sha256))
    assert found(wait=False) == fresh
    assert sum(call.args == () for call in content_digest.hashlib.sha256.mock_calls) == 0  # type: ignore[attr-defined]
    os.utime(path, ns=(0, path.stat().st_mtime_ns))  # the change time is another one
    assert found(wait=False) is None and found(wait=True) == fresh
    for kept in (tmp_path / "cache" / "digests").iterdir():
        kept.write_bytes(b"llmlocal digest 1\nnonsense\n")
    assert found(wait=False) is None


def test_a_file_that_changed_while_it_was_mapped_is_not_kept(tmp_path: Path, models: list[Path]) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(models[0].read_bytes())
    with closing(Engine.open(path, n_ctx=512, n_threads=1)) as e:
        e.prefill(ids(N))
        changed(path, path.stat().st_size - 100)
        cache = PromptCache(tmp_path / "kept")
        cache.store(e)
        assert cache.notes == ["the prompt was not cached: the model file has changed"]
        assert not list((tmp_path / "kept").glob("*"))


def test_every_damage_is_seen(tmp_path: Path, engine: Any) -> None:
    kept(tmp_path, engine, ids(N))
    (path,) = tmp_path.iterdir()
    data, e, rng = path.read_bytes(), engine(), np.random.default_rng(3)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    wrong = [data[:n] for n in (0, 5, len(MAGIC), len(MAGIC) + 2, 300, len(data) // 2, len(data) - 1)] + [data + b"x"]
    for at in [*rng.integers(0, len(data), 40).tolist(), len(data) - 1, len(data) - DIGEST - 1]:
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(rng.integers(8))
        wrong.append(bytes(flipped))
    for content in wrong:
        path.write_bytes(content)
        assert PromptCache(tmp_path).restore(e, ids(N)) == 0
        assert e.length() == 0
    path.write_bytes(data)
    assert PromptCache(tmp_path).restore(e, ids(N)) == N - 1


@pytest.mark.parametrize("number", [float("inf"), 200.0, "200", None, True, [200]], ids=str)
def test_numbers_of_a_header_are_whole(tmp_path: Path, number: Any) -> None:
    for header in ({"tokens": number, "shapes": [[1, 1, 1]]}, {"tokens": 1, "shapes": [[1, 1, number]]}):
        data = json.dumps({"key": "k", **header}).encode()
        (tmp_path / "x.prefix").write_bytes(MAGIC + prompt_cache.LENGTH.pack(len(data)) + data + bytes(9999))
        assert prompt_cache._entry(tmp_path / "x.prefix") is None


def test_a_longer_text_takes_the_place_of_its_beginning(tmp_path: Path, engine: Any) -> None:
    kept(tmp_path, engine, ids(N))
    kept(tmp_path, engine, ids(N)[:150])  # is kept already
    assert len(list(tmp_path.iterdir())) == 1
    kept(tmp_path, engine, ids(N) + [9] * 20)
    kept(tmp_path, engine, ids(N, seed=5))
    assert len(list(tmp_path.iterdir())) == 2
    assert PromptCache(tmp_path).restore(engine(), ids(N) + [9] * 30) == N + 20


def test_least_used_ones_leave(tmp_path: Path, engine: Any) -> None:
    for seed in range(4):
        kept(tmp_path, engine, ids(N, seed))
        for age, path in enumerate(sorted(tmp_path.iterdir(), key=lambda path: -path.stat().st_mtime_ns)):
            os.utime(path, (1e9 - age, 1e9 - age))
    size = max(path.stat().st_size for path in tmp_path.iterdir())
    e = engine()
    assert PromptCache(tmp_path).restore(e, ids(N, 0))  # is used, so it stays
    e = engine()
    e.prefill(ids(N, 9))
    PromptCache(tmp_path, limit=2 * size + 100).store(e)
    assert len(list(tmp_path.iterdir())) == 2
    assert PromptCache(tmp_path).restore(engine(), ids(N, 0)) == N - 1
    assert PromptCache(tmp_path).restore(engine(), ids(N, 9)) == N - 1
    e = engine()
    e.prefill(ids(N, 11))
    PromptCache(tmp_path, limit=100).store(e)  # larger than all that may be kept
    assert PromptCache(tmp_path).restore(engine(), ids(N, 11)) == 0


def test_named_file(tmp_path: Path, engine: Any) -> None:
    place = tmp_path / "p.cache"
    e = engine()
    e.prefill(ids(N))
    PromptCache(place, named=True).store(e)
    assert PromptCache(place, named=True).restore(engine(), ids(N)) == N - 1
    place.write_text("a letter")
    with pytest.raises(BadFileError, match="is not a prompt cache"):
        PromptCache(place, named=True)
    assert place.read_text() == "a letter"
    if os.name == "posix":
        os.mkfifo(pipe := tmp_path / "pipe")  # opening it would wait
        with pytest.raises(BadFileError, match="is not a prompt cache"):
            PromptCache(pipe, named=True)


def test_what_cannot_be_written_is_a_note(tmp_path: Path, engine: Any) -> None:
    (tmp_path / "file").write_text("")
    e = engine()
    e.prefill(ids(N))
    cache = PromptCache(tmp_path / "file" / "folder")
    cache.store(e)
    assert "is not used" in cache.notes[0]
    assert cache.restore(e, ids(N)) == 0


def test_identity_covers_what_keys_and_values_are_computed_by() -> None:
    """Everything of ours that the engine and the architectures import, but for what reads files and says errors.

    What an encoder reads is not cached, nor what a block or an assistant made that predicts further tokens.
    """
    root = Path(__file__).parents[1]
    hashed = {*prompt_cache.sources(), *cache.sources("llmlocal.ops")}
    wanted = {
        *(root / "llmlocal" / name for name in ("engine.py", "sequences.py")),
        *(path for room in ("runtime", "layers", "models", "ops") for path in (root / "llmlocal" / room).rglob("*.py")),
        *(root / "quant").rglob("*.py"),
    }
    assert {path.resolve() for path in hashed} == wanted
    rooms = (
        "hf",
        "gguf",
        "files",
        "tokenizer",
        "errors",
        "text",
        "model_sizes",
        "source_encoder",
        "predictor",
        "assistant",
    )
    passed_over = tuple(f"llmlocal.{room}" for room in rooms)
    todo, seen = ["llmlocal.engine", *(name for name in MODULES if name.startswith("llmlocal.models."))], set()
    while todo:
        name = todo.pop()
        if name not in seen and not name.startswith(passed_over):
            seen.add(name)
            todo += edges(MODULES[name])
    assert {MODULES[name] for name in seen} <= wanted
