"""Layers with a sliding window keep its last keys only, and nothing of what the engine computes tells it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from families.converted import write_converted
from naive import nmse
from poisoned_memory import poison
from random_edits import BOUND, check_truncation, check_two_sequences, edited, fixtures, read

from llmlocal.engine import Engine
from llmlocal.generation.events import Finished, Token
from llmlocal.generation.prompt_cache import MIN_TOKENS, PromptCache
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.gguf import open_gguf
from llmlocal.gguf.writer import write_gguf
from llmlocal.layers.key_range import KeyRange
from llmlocal.model_info.memory import memory
from llmlocal.runtime import checkpoints, ring
from llmlocal.runtime.batch import Batch
from llmlocal.runtime.ring import Ring
from llmlocal.runtime.windows import (
    CHUNK,
    SLACK,
    Chunk,
    checkpoint_cells,
    first_key,
    first_token,
    kept_end,
    ring_cells,
)

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")
CONTEXT, UBATCH = 900, 64
CELLS = CHUNK  # of the ring of the tiny models
MORE = ("gemma2-short-window", "phi3", "olmo3", "cohere2", "exaone4-windows", "starcoder2")
SHARED = ("gemma3n", "gemma4-shared-keys", "gemma4-experts", "llama4")
CASES = ("gemma3", "gpt-oss", *(pytest.param(case, marks=pytest.mark.slow) for case in (*MORE, *SHARED)))


@pytest.fixture
def full(path: Path) -> Iterator[Engine]:
    """An engine whose layers all keep the whole context."""
    engine = opened(path, n_seqs=2, whole=True)
    yield engine
    engine.close()


def opened(path: Path, n_seqs: int = 1, *, whole: bool = False, kv_type: str = "f32", **how: int) -> Engine:
    with pytest.MonkeyPatch.context() as patch:
        poison(patch)  # a window that is restored lies between cells that were never written
        if whole:
            patch.setattr(ring, "ring_cells", lambda window, n_ctx, ubatch: -(-n_ctx // 32) * 32)
        options = {"n_ctx": CONTEXT, "n_threads": 2, "ubatch": UBATCH, "max_outputs": 17} | how
        return Engine.open(path, n_seqs=n_seqs, kv_type=kv_type, **options)


path, fresh, engine = fixtures(CASES, opened)


@contextmanager
def checkpoints_every(n: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ring, "INTERVAL", n)
        yield


def ids(n: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(3, 40, n).tolist()


# ---- rules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 8, 37, Chunk(8), Chunk(1), Chunk(50)])
def test_which_keys_a_position_needs(window: int) -> None:
    table = KeyRange(Batch(200, 1), window, causal=True)
    table.fill(np.arange(200))
    assert [first_key(window, p) for p in range(200)] == table.first.tolist()
    for key in range(150):
        assert first_token(window, key) == next(p for p in range(200) if first_key(window, p) >= key)
        for end in (key, key + 5, key + 60):
            ends = [n for n in range(end + 1) if first_key(window, n) >= key]
            assert all(kept_end(key, end, n, window) == (n if n in ends else 0) for n in range(key, end + 1))


def test_a_ring_has_room_for_the_window_a_batch_and_some_more() -> None:
    assert ring_cells(512, 32768, 512) == 1280 and ring_cells(512, 1000, 512) == 1024
    assert ring_cells(None, 1000, 512) == 1024 and ring_cells(4096, 32768, 512) == 4864
    for window in (1, 100, 192, 193, 4096):
        cells = ring_cells(window, 1 << 20, 512)
        assert cells % CHUNK == 0 and window + 512 + SLACK <= cells < window + 512 + SLACK + CHUNK


def test_gemma_of_270m_at_32768_tokens() -> None:
    """576 MiB of cache before; a fifth of it now, and the estimate says so."""
    shape = make_model.SHAPES["gemma3-270m"]
    keys = {"block_count": shape.layers, "attention.head_count": shape.heads, "attention.head_count_kv": 1}
    keys |= {"attention.key_length": shape.head, "attention.value_length": shape.head}
    keys |= {"attention.sliding_window": shape.window, "embedding_length": shape.width}
    metadata = {"general.architecture": "gemma3"} | {f"gemma3.{key}": value for key, value in keys.items()}
    told = memory(metadata, {}, 32768)
    cell = 2 * 2 * shape.head
    assert told.cache == cell * (3 * 32768 + 15 * 1280) < 0.12 * 2**30
    assert told.windows == 4 * 15 * cell * (512 + 32) <= 32 << 20


# ---- the same bits -------------------------------------------------------------------------------------------------


def answers(engine: Engine, tokens: list[int], sizes: tuple[int, ...]) -> list[bytes]:
    """Logits after batches of these sizes, then of one token after the other."""
    at, seen = 0, []
    for size in sizes:
        seen.append(engine.prefill(tokens[at : at + size]).tobytes())
        at += size
    return [*seen, *(engine.decode(id).tobytes() for id in tokens[at:])]


SIZES = (1, 3, 130, 37, 9, 64, 8, 200, 2)


def test_same_bits_as_with_the_whole_context(path: Path) -> None:
    tokens = ids(sum(SIZES) + 300)
    engines = [opened(path, whole=True, kv_type="f16"), *(opened(path, kv_type="f16", n_threads=n) for n in (1, 3, 4))]
    want, *got = [answers(engine, tokens, SIZES) for engine in engines]
    assert all(some == want for some in got) and len(set(want)) == len(want)
    for engine in engines:
        engine.close()


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_same_bits_in_quantized_models(tmp_path: Path, kv_type: str) -> None:
    make_model.make_model("tiny-gemma3-256", path := tmp_path / "m.gguf", form="Q8_0")
    tokens = np.random.default_rng(1).integers(3, 250, sum(SIZES) + 120).tolist()
    engines = [opened(path, whole=True, kv_type=kv_type), opened(path, kv_type=kv_type), opened(path, kv_type=kv_type)]
    want, got, other = [answers(engine, tokens, SIZES) for engine in engines]
    assert want == got == other
    assert engines[0]._cache.nbytes > 2 * engines[1]._cache.nbytes
    for engine in engines:
        engine.close()


def test_tokens_that_are_taken_back_leave_the_same_bits(engine: Engine, full: Engine) -> None:
    """As speculation does, at every place of the ring."""
    tokens, at = ids(CONTEXT), 200
    engine.prefill(tokens[:at])
    full.prefill(tokens[:at])
    while at < CELLS + 300:
        proposed = [tokens[at], *ids(16, seed=at)]
        few = max(1, min(engine.same_bits, 17))
        seen = [e.verify(proposed[:few]) for e in (engine, full)]
        for e in (engine, full):
            e.truncate(at + 1 + at % few % 3)
            at_now = e.length()
        assert np.array_equal(*seen)
        tokens[at:at_now] = engine.history()[at:]
        at = at_now
    assert np.array_equal(engine.decode(7), full.decode(7))


def test_another_try_within_the_ring_reads_nothing_again(engine: Engine, full: Engine) -> None:
    tokens = ids(600)
    for e in (engine, full):
        e.prefill(tokens)
    for other in ([*tokens[:500], *ids(40, 1)], [*tokens[:470], *ids(90, 2)]):
        assert engine.behind_window(other) == 0
        start = engine.reuse(other)
        assert start == full.reuse(other) >= 470
        assert np.array_equal(engine.prefill(other[start:]), full.prefill(other[start:]))


def test_the_ring_reaches_back_as_far_as_it_can(engine: Engine, full: Engine) -> None:
    tokens = ids(500)
    for e in (engine, full):
        e.prefill(tokens)
    assert engine.ring.window is not None
    last = next(n for n in range(500) if first_key(engine.ring.window, n) >= 500 - CELLS)
    before = [*tokens[: last - 1], *ids(20, 1)]
    assert engine.behind_window(before) == engine._shared(before, 0) == last - 1
    other = [*tokens[:last], *ids(20, 1)]
    assert engine.reuse(other) == full.reuse(other) == last
    assert np.array_equal(engine.prefill(other[last:]), full.prefill(other[last:]))


# ---- behind the window ---------------------------------------------------------------------------------------------


def test_truncation_at_any_position(engine: Engine, fresh: Engine) -> None:
    tokens = ids(700)
    for length in (699, 640, 452, 451, 440, 300, 7, 1, 0):
        check_truncation(engine, fresh, tokens, length)


def test_what_lies_behind_the_window_is_read_again(engine: Engine, fresh: Engine) -> None:
    tokens = ids(500)
    engine.prefill(tokens)
    other = [*tokens[:200], *ids(20, 1)]
    assert engine.behind_window(other) == 200 and engine.reusable(other) == 0 == engine.reuse(other)
    assert nmse(engine.prefill(other), read(fresh, other)) <= BOUND


def test_a_sequence_goes_back_to_a_checkpoint(path: Path, full: Engine, fresh: Engine) -> None:
    """Which has the bits of the cells that were there."""
    with checkpoints_every(64):
        engine, tokens = opened(path, n_seqs=2), ids(800)
        for e in (engine, full):
            e.prefill(tokens)
        kept = sorted(engine.ring._sequences[0].kept)
        assert len(kept) == 8 and kept[0] == 64 and kept[-1] == 512
        other = [*tokens[:300], *ids(30, 1)]
        assert engine.behind_window(other) == 300 - 256
        assert engine.copy_prefix(other, 0, 1) == engine.reuse(other) == 256
        full.truncate(256)
        want = full.prefill(other[256:])
        for seq in (0, 1):
            assert engine.history(seq) == tokens[:256]
            assert np.array_equal(engine.prefill(other[256:], seq), want)
        near = [*other[:300], *ids(20, 2)]
        assert engine.behind_window(near) == 0 and engine.reuse(near) == 300  # the ring goes on from there
        assert engine.reuse([*tokens[:130], *ids(30, 2)], 1) == 128
        engine.close()


def test_the_end_of_a_prompt_is_a_checkpoint(engine: Engine) -> None:
    prompt = ids(150)
    engine.prefill(prompt[engine.reuse(prompt) :])
    for id in ids(400, 1):
        engine.decode(id)
    assert engine.reuse(prompt) == 150 - checkpoints.TAIL


def test_few_checkpoints_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the budget allows, and at least one; none where the ring holds the whole context."""
    assert checkpoints.window_capacity(0) == 0 and checkpoints.window_capacity(1 << 40) == 1
    assert checkpoints.window_capacity(8 << 20) == 4 and checkpoints.window_capacity(8 << 20, 2) == 2
    some = Ring(8, 4096, 1, 512)
    some.add([np.zeros((2, some.cells // 32, 64), np.uint8)])
    monkeypatch.setattr(ring, "INTERVAL", 16)
    for length in range(0, 4096, 64):
        some.advance([(0, length, 64)])
    kept = sorted(some._sequences[0].kept)
    assert len(kept) == checkpoints.MOST_WINDOWS and kept[-1] == (4096 - some.cells + 7) // 16 * 16
    whole = Ring(8, 500, 1, 512)
    whole.add([np.zeros((2, whole.cells // 32, 64), np.uint8)])
    for length in range(0, 500, 50):
        whole.advance([(0, length, 50)])
    assert not whole._sequences[0].kept and whole._sequences[0].first == 0


def test_sequences_do_not_touch_each_other(engine: Engine, fresh: Engine) -> None:
    check_two_sequences(engine, fresh, ids(600), ids(350, seed=1))


def test_random_edits(path: Path, fresh: Engine) -> None:
    with checkpoints_every(128):
        met = edited(opened(path, n_seqs=2), fresh, 0, 60)
    assert met["read again"] and met["copied"]


def test_a_recurrent_model_with_windows(tmp_path: Path) -> None:
    """LFM2 with a window that published models do not have: both go back to where both can."""
    with open_gguf(write_converted("lfm2", tmp_path)) as gguf:
        metadata = {**gguf.metadata, "lfm2.attention.sliding_window": 8}
        write_gguf(tmp_path / "window.gguf", metadata, list(gguf.tensors.values()))
    fresh = opened(tmp_path / "window.gguf")
    with checkpoints_every(64):
        met = edited(opened(tmp_path / "window.gguf", n_seqs=2), fresh, 0, 60)
    assert met["copied"]
    fresh.close()


@pytest.mark.slow
def test_a_thousand_random_edits(path: Path, fresh: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(1, 6):
        monkeypatch.setattr(checkpoints, "MOST_WINDOWS", seed)
        with checkpoints_every((512, 128, 64, 32, 16)[seed - 1]):
            met = edited(opened(path, n_seqs=2), fresh, seed, 200)
        assert met["read again"] and met["copied"]


# ---- sessions ------------------------------------------------------------------------------------------------------


def test_an_answer_says_what_was_read_again(path: Path) -> None:
    def told(session: Session, text: str) -> Finished:
        *tokens, end = session.complete(text, max_tokens=3, sampling=SamplingParams(temperature=0.0))
        assert isinstance(end, Finished) and any(isinstance(token, Token) for token in tokens)
        return end

    with Session.open(path, n_ctx=3000, n_threads=1, kv_type="f32") as session:
        first = told(session, "!" * 2500)
        text = "!" * 100 + "$" * 30
        again = told(session, text)
        assert first.read_again == 0 and again.reused_tokens == 0
        assert again.read_again >= 40
        last = told(session, text)
        assert last.read_again == 0 and last.reused_tokens > 40


# ---- on disk -------------------------------------------------------------------------------------------------------


def test_another_process_goes_on_from_the_prompt_cache(path: Path, full: Engine, tmp_path: Path) -> None:
    """In a ring of another size, and in one for the whole context; the bits are those of the cells that were there."""
    prompt, more = ids(500), ids(60, 1)
    first = opened(path)
    first.prefill(prompt[first.reuse(prompt) :])
    for id in more:
        first.decode(id)
    PromptCache(tmp_path).store(first)
    longer = [*prompt, *more, *ids(12, 2)]
    want = first.prefill(longer[560:])
    full.prefill(prompt)
    full.truncate(480)
    other, sizes = [*prompt[:480], *ids(30, 3)], set()
    wanted = full.prefill(other[480:])
    for how in ({}, {"ubatch": 300}, {"ubatch": CONTEXT}):
        second = opened(path, n_seqs=2, **how)
        assert PromptCache(tmp_path).restore(second, longer, 1) == second.length(1) == 560
        assert np.array_equal(second.prefill(longer[560:], 1), want)
        assert PromptCache(tmp_path).restore(second, other) == 480
        assert np.array_equal(second.prefill(other[480:]), wanted)
        second.truncate(0)
        assert PromptCache(tmp_path).restore(second, [*prompt[:200], 5, 6]) == 0  # no window that far back
        sizes.add(second.ring.cells)
        second.close()
    assert len(sizes) == 3
    first.close()


def test_entries_that_do_more_are_kept(path: Path, tmp_path: Path) -> None:
    """A longer text takes the place of its beginning only where it can give it back."""
    engine, tokens = opened(path), ids(800)
    engine.prefill(tokens[:MIN_TOKENS])
    PromptCache(tmp_path).store(engine)
    engine.prefill(tokens[MIN_TOKENS:700])
    PromptCache(tmp_path).store(engine)
    assert len(list(tmp_path.iterdir())) == 2
    engine.prefill(tokens[700:720])
    PromptCache(tmp_path).store(engine)
    assert len(list(tmp_path.iterdir())) == 2
    assert PromptCache(tmp_path).restore(opened(path), [*tokens[:MIN_TOKENS], 5]) == MIN_TOKENS
    engine.close()


@pytest.mark.parametrize("change", [lambda data: data[:-200], lambda data: data[:3000] + b"x" + data[3001:]])
def test_damage_is_seen(path: Path, tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    engine = opened(path)
    engine.prefill(ids(400))
    PromptCache(tmp_path).store(engine)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(change(entry.read_bytes()))
    engine.adopt(())
    assert PromptCache(tmp_path).restore(engine, ids(401)) == 0
    assert engine.length() == 0
    engine.close()


# ---- memory --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_seqs", [1, 3])
def test_the_estimate_is_what_the_engine_takes(path: Path, n_seqs: int) -> None:
    engine = Engine.open(path, n_ctx=5000, n_threads=1, n_seqs=n_seqs, load=False)
    with open_gguf(path) as gguf:
        told = memory(gguf.metadata, gguf.tensors, 5000, n_seqs=n_seqs)
    held = engine.ring
    checkpoint = checkpoint_cells(held.window or 0, held.cells, 5000) // 32 * held.block_bytes
    assert told.cache == engine._cache.nbytes
    assert told.windows == n_seqs * held._capacity * checkpoint > 0
    engine.close()
