"""The same prompt has the same logits, bit for bit, whether it is read whole or in part, on any number of threads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from llmlocal.engine import Engine
from llmlocal.generation.events import Token
from llmlocal.generation.prompt_cache import PromptCache
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.quant.format import BY_ID
from llmlocal.quant.formats import load_all
from llmlocal.quant.jit import cpu
from llmlocal.quant.kernels.matmul import TILED_TOKENS, few_tokens
from llmlocal.quant.simd.few_tokens import FEW_TOKENS
from llmlocal.runtime.batch import batch_sizes

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")
MODELS = [
    ("tiny-llama-256", "Q4_K", False),
    ("tiny-llama-256", "Q4_K", True),
    ("tiny-llama-256", "Q8_0", True),
    ("tiny-qwen3moe-256", "Q4_0", False),
    ("tiny-llama-256", "F16", False),
]
UBATCH = 64


@pytest.fixture(scope="module", params=MODELS, ids=lambda m: f"{m[0]}-{m[1]}{'-copied' if m[2] else ''}")
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bool]:
    shape, form, copied = request.param
    make_model.make_model(shape, path := tmp_path_factory.mktemp("warm") / "m.gguf", form=form)
    return path, copied


@contextmanager
def opened(model: tuple[Path, bool], threads: int = 2) -> Iterator[Engine]:
    path, copied = model
    engine = Engine.open(path, n_ctx=256, n_threads=threads, ubatch=UBATCH, copy_weights=copied)
    try:
        yield engine
    finally:
        engine.close()


def read(engine: Engine, ids: list[int]) -> bytes:
    """The logits after a prompt, of which what is cached is not read again."""
    return engine.prefill(ids[engine.reuse(ids) :]).tobytes()


def ids(n: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(3, 400, n).tolist()


def test_every_way_of_reading_gives_the_same_logits(model: tuple[Path, bool]) -> None:
    """Read again, after other prompts with the same beginning, after an answer, after an undo."""
    lengths = (5, TILED_TOKENS, UBATCH, UBATCH + 1, 2 * UBATCH + TILED_TOKENS - 1, 169)
    cold: dict[int, bytes] = {}
    for threads, n in zip((1, 2, 3, 4, 1, 2), lengths, strict=True):
        with opened(model, threads) as engine:
            cold[n] = read(engine, ids(200)[:n])
    with opened(model) as engine:
        for n in (169, 169, 5, 169, UBATCH, UBATCH + 1, 2 * UBATCH + TILED_TOKENS - 1, TILED_TOKENS, 5, 169):
            assert read(engine, ids(200)[:n]) == cold[n], n
        for token in ids(20, seed=1):
            engine.decode(token)
        assert read(engine, ids(200)[:169]) == cold[169]
        engine.truncate(100)
        read(engine, ids(200)[:100] + ids(30, seed=2))
        assert read(engine, ids(200)[:169]) == cold[169]


@pytest.mark.parametrize("most", [32, 64, 512])
def test_no_batch_is_small_where_it_need_not_be(most: int) -> None:
    for n in (*range(1, 4 * most, max(1, most // 30)), most + 1, 2 * most + 1, 2 * most + 8):
        sizes = list(batch_sizes(n, most))
        assert sum(sizes) == n and max(sizes) <= most and min(sizes) >= min(n, TILED_TOKENS)


@pytest.mark.parametrize("isa", cpu.offered())
def test_that_many_tokens_are_read_in_tiles_in_every_format(isa: str) -> None:
    load_all()
    assert all(few_tokens(FEW_TOKENS[isa], fmt) < TILED_TOKENS for fmt in BY_ID.values() if fmt.activations)


def test_a_seed_gives_the_same_text_warm_or_cold(model: tuple[Path, bool], tmp_path: Path) -> None:
    """In one process, from the prompt cache on disk, and after a part of the answer was generated in another."""
    path, _ = model
    texts, prompt = [], "the dog and the cat had water " * 20

    def text(session: Session) -> str:
        events = session.complete(prompt, max_tokens=12, sampling=SamplingParams(seed=1, temperature=1.0))
        return str([event.id for event in events if isinstance(event, Token)])

    for _ in range(3):
        with Session.open(path, n_ctx=256, n_threads=2) as session:
            session.cache = PromptCache(tmp_path / "cache")
            texts += [text(session), text(session)]
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert len(set(texts)) == 1
