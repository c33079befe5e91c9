"""Proposed tokens in models with recurrent states: a state is kept after each, so that it can be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from answers import CONTEXT, answered
from families.converted import write_folder
from random_edits import fixtures
from test_speculation import GREEDY, prompts

from llmlocal import engine_plan
from llmlocal.engine import Engine
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.model_info.recurrent_memory import between_memory
from llmlocal.quantize.convert import convert_model
from llmlocal.runtime import checkpoints
from llmlocal.runtime.checkpoints import FEWEST_VERIFIED, INTERVAL, between_slots, verified_tokens
from llmlocal.runtime.state_cache import StateCache

SLOW = ("lfm2", "granitehybrid", "falcon-h1", "jamba", "kimi-linear", "mamba", "mamba2", "qwen3next", "rwkv6", "rwkv7")
CASES = ("qwen35", *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW))


def opened(path: Path, n_seqs: int = 1) -> Engine:
    return Engine.open(path, n_ctx=CONTEXT, n_threads=2, n_seqs=n_seqs, max_outputs=16, kv_type="f32", verified=16)


path, fresh, engine = fixtures(CASES, opened)


def ids(n: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(3, 40, n).tolist()


def forbidden(*_: object, **__: object) -> None:
    raise AssertionError("tokens are read again")


def test_any_proposed_token_can_be_taken_back(engine: Engine, fresh: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without reading anything again, and with the bits of tokens one by one, for two sequences in turn."""
    rng, begun, few = Random(3), [ids(40), ids(30, seed=1)], engine.verifiable
    held = [[*prompt] for prompt in begun]
    assert few > 1
    for seq in (0, 1):
        engine.prefill(held[seq], seq)
    for _ in range(12):
        seq, some = rng.randrange(2), [rng.randrange(3, 40) for _ in range(rng.randint(2, few))]
        rows = engine.verify(some, seq)
        fresh.truncate(0)
        fresh.prefill(begun[seq])
        for id in held[seq][len(begun[seq]) :]:
            fresh.decode(id)
        assert [row.tobytes() for row in rows] == [fresh.decode(id).tobytes() for id in some]
        kept = rng.randint(1, len(some))
        held[seq] += some[:kept]
        with monkeypatch.context() as patched:
            patched.setattr(engine, "_run", forbidden)
            engine.truncate(len(held[seq]), seq)
        assert engine.history(seq) == held[seq]


def states_of(cache: StateCache, runs: list[tuple[int, int, int]], *, verify: bool) -> None:
    """Run a plan in Python: the state of a sequence is here a sum over the positions that it passed."""
    cache.plan(runs, verify=verify)
    slots = cache.layers[0].slots.view(np.float32)
    rows = [(seq, at) for seq, length, new in runs for at in range(length, length + new)]
    for first, end, source, target in cache._segments[: cache._run_starts[len(runs)]].tolist():
        slots[target, 0] = slots[source, 0] + sum(1 + at + 1000 * rows[first][0] for _, at in rows[first:end])


def test_plans_lose_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random runs of three sequences, with and without proposals, past checkpoints, and back to what can be reached."""
    monkeypatch.setattr(checkpoints, "MEMORY", 0)  # few checkpoints
    rng, cache, lengths = Random(1), StateCache(3, 600, 8), [0, 0, 0]
    cache.add_layer(1)
    cache.allocate()
    for _ in range(3000):
        seqs = rng.sample(range(3), rng.randint(1, 3))
        if verify := rng.random() < 0.6:
            news = dict.fromkeys(seqs, 1)
            for _ in range(rng.randint(0, 8 - len(seqs))):
                news[rng.choice(seqs)] += 1
        else:
            news = {seq: rng.choice((1, 1, 5, 100)) for seq in seqs}
        states_of(cache, [(seq, lengths[seq], news[seq]) for seq in seqs], verify=verify)
        for seq in seqs:
            before, lengths[seq] = lengths[seq], lengths[seq] + news[seq]
            wanted = rng.randint(before + 1, lengths[seq]) if verify else rng.randint(0, lengths[seq])
            if verify or rng.random() < 0.1:
                kept = cache.rewind(wanted, lengths[seq], seq)
                assert kept == wanted if verify else kept <= wanted
                lengths[seq] = kept
            if rng.random() < 0.05:
                cache.keep_at(lengths[seq] + rng.randint(1, 12), seq)
        for seq in range(3):
            for position, (state,) in cache.stored(lengths[seq], seq).items():
                assert state.view(np.float32)[0] == sum(1 + at + 1000 * seq for at in range(position))
    assert max(lengths) > INTERVAL


def test_how_many_states_are_kept_between_tokens() -> None:
    assert (verified_tokens(1, 16), verified_tokens(1 << 30, 16)) == (16, FEWEST_VERIFIED)
    assert (between_slots(1, 16), between_slots(1, 16, 3), between_slots(1, 1, 3)) == (16, 18, 0)


# ---- texts ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["map F32", "copy Q8_0"])
def quantized(request: pytest.FixtureRequest, path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple]:
    weights, form = request.param.split()
    folder = tmp_path_factory.mktemp("quantized")
    write_folder(path.parent.name.rstrip("0123456789"), folder)
    return weights, convert_model(folder, folder / "m.gguf", form).path


def check(path: Path, weights: str, n: int, seeds: int, threads: int) -> None:
    """Answers to `n` prompts with and without proposals are the same, of which some come true and some do not."""
    params = [GREEDY, *(SamplingParams(temperature=0.2 + 0.3 * seed, seed=seed) for seed in range(seeds))]
    how, proposed, accepted = {"n_ctx": CONTEXT, "weights": weights}, 0, 0
    with (
        Session.open(path, n_threads=1, **how) as plain,
        Session.open(path, n_threads=threads, speculate="ngram", **how) as other,
    ):
        for prompt in prompts(n):
            for param in params:
                some = [3 + id % 37 for id in prompt]
                (wanted, _), (got, told) = answered(plain, some, param), answered(other, some, param)
                assert got == wanted
                proposed, accepted = proposed + told.speculation.proposed, accepted + told.speculation.accepted
    assert 0 < accepted < proposed


def test_the_text_is_that_of_plain_decoding(quantized: tuple[str, Path]) -> None:
    weights, path = quantized
    check(path, weights, n=4, seeds=2, threads=2)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_the_text_of_many_prompts(quantized: tuple[str, Path], threads: int) -> None:
    weights, path = quantized
    check(path, weights, n=50, seeds=5, threads=threads)


def test_without_memory_for_states_nothing_is_proposed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Session.open(path, n_ctx=64, n_threads=1, speculate="ngram") as session:
        assert between_memory(session.gguf.metadata, 1, 16) == 16 * session.engine.state_bytes
        assert session.engine.verifiable > 1
    monkeypatch.setattr(engine_plan, "between_memory", lambda *_: 1 << 60)
    with Session.open(path, n_ctx=64, n_threads=1, speculate="ngram") as session:
        _, end = answered(session, ids(20) * 2, GREEDY)
        assert (end.speculation.proposed, end.speculation.resting) == (0, "memory for its states is not free")
