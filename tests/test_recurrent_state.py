"""A recurrent state behaves like a cache: whatever was done to a sequence, it goes on as if it were read afresh."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from naive import nmse
from random_edits import BOUND, check_truncation, check_two_sequences, edited, fixtures, read

from llmlocal.engine import Engine
from llmlocal.generation.events import Finished, Token
from llmlocal.generation.prompt_cache import PromptCache
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.runtime import checkpoints
from llmlocal.runtime.checkpoints import FEWEST, INTERVAL, MOST, TAIL, capacity, least_useful, stops
from llmlocal.runtime.program import Program

SLOW = ("granitehybrid", "falcon-h1", "jamba", "kimi-linear", "rwkv7")
CASES = ("lfm2", "qwen35", *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW))
CONTEXT = 600


def opened(path: Path, n_seqs: int = 1) -> Engine:
    return Engine.open(path, n_ctx=CONTEXT, n_threads=2, n_seqs=n_seqs, ubatch=64, kv_type="f32")


path, fresh, engine = fixtures(CASES, opened)


def ids(n: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(3, 40, n).tolist()


# ---- which states are kept -----------------------------------------------------------------------------------------


def test_how_many_checkpoints_are_kept() -> None:
    assert capacity(1) == capacity(0) == MOST
    assert capacity(1 << 30) == FEWEST
    assert capacity(10 << 20) == 12 and capacity(10 << 20, n_seqs=2) == 6


def test_where_checkpoints_are_kept() -> None:
    assert stops(0, 10, 0) == [] and stops(0, 10, 10) == [10] and stops(10, 20, 10) == []
    assert stops(0, 2 * INTERVAL, 700) == [INTERVAL, 700, 2 * INTERVAL]
    assert stops(INTERVAL, 2 * INTERVAL - 1, 3) == []


def test_checkpoints_are_dense_near_the_end() -> None:
    kept: list[int] = []
    for end in range(INTERVAL, 200 * INTERVAL, INTERVAL):
        if len(kept) == 8:
            kept.remove(least_useful(kept, end))
        kept.append(end)
        for back in range(INTERVAL, end, 997):
            place = end - back
            assert place - max((p for p in kept if p <= place), default=0) <= 3 * back
    assert len(kept) == 8


# ---- sequences -----------------------------------------------------------------------------------------------------


def test_truncation_at_any_position(engine: Engine, fresh: Engine) -> None:
    tokens = ids(90)
    for length in (89, 64, 50, 1, 0):
        check_truncation(engine, fresh, tokens, length)


def test_the_end_of_a_prompt_is_a_checkpoint(engine: Engine, fresh: Engine) -> None:
    """So that another try, and a prompt that ends otherwise, read the last tokens only."""
    tokens = ids(80)
    assert engine.reuse(tokens) == 0
    engine.prefill(tokens)
    for id in ids(20, seed=1):
        engine.decode(id)
    assert engine.reuse(tokens) == 80 - TAIL
    assert nmse(engine.prefill(tokens[80 - TAIL :]), read(fresh, tokens)) <= BOUND
    longer = [*tokens[: 80 - TAIL + 3], *ids(30, seed=2)]
    assert engine.reusable(longer) == engine.reuse(longer) == 80 - TAIL
    assert nmse(engine.prefill(longer[80 - TAIL :]), read(fresh, longer)) <= BOUND


def test_another_try_gives_the_same_bits(engine: Engine) -> None:
    tokens = ids(60)
    engine.reuse(tokens)
    first = engine.prefill(tokens)
    engine.decode(7)
    assert np.array_equal(engine.prefill(tokens[engine.reuse(tokens) :]), first)


def test_a_prompt_that_goes_on_reads_only_what_is_new(engine: Engine) -> None:
    tokens = ids(80)
    engine.reuse(tokens[:50])
    engine.prefill(tokens[:50])
    assert engine.reuse(tokens) == 50


def test_long_sequences_have_regular_checkpoints(engine: Engine, fresh: Engine) -> None:
    tokens = ids(CONTEXT - 5)
    engine.prefill(tokens)
    other = [*tokens[: INTERVAL + 20], 5, 6]
    assert engine.reuse(other) == INTERVAL
    assert nmse(engine.prefill(other[INTERVAL:]), read(fresh, other)) <= BOUND


def test_an_interrupt_leaves_tokens_and_state_together(
    engine: Engine, fresh: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, run = ids(40), engine._team.run
    engine.prefill(tokens)

    def interrupted(program: Program) -> None:
        run(program)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(engine._team, "run", interrupted)
        engine.decode(7)
    assert engine.history() == [*tokens, 7]
    assert nmse(engine.decode(8), read(fresh, [*tokens, 7, 8])) <= BOUND


def test_sequences_do_not_touch_each_other(engine: Engine, fresh: Engine) -> None:
    check_two_sequences(engine, fresh, ids(40), ids(30, seed=1))


def test_random_edits(path: Path, fresh: Engine) -> None:
    edited(opened(path, n_seqs=2), fresh, 0, 60)


@pytest.mark.slow
def test_a_thousand_random_edits(path: Path, fresh: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "MEMORY", 0)  # few checkpoints, so that many are given up
    for seed in range(1, 6):
        edited(opened(path, n_seqs=2), fresh, seed, 200)


# ---- sessions ------------------------------------------------------------------------------------------------------


def told(session: Session, text: str) -> tuple[list[int], Finished]:
    *tokens, end = session.complete(text, max_tokens=6, sampling=SamplingParams(temperature=1.0, seed=5))
    assert isinstance(end, Finished)
    return [token.id for token in tokens if isinstance(token, Token)], end


def test_another_try_and_the_next_turn_read_little_again(path: Path) -> None:
    """And with the same seed another try says the same."""
    with Session.open(path, n_ctx=CONTEXT, n_threads=1, kv_type="f32") as session:
        first, end = told(session, "!" * 300)
        again, end_again = told(session, "!" * 300)
        assert first == again and (end.reused_tokens, end_again.reused_tokens) == (0, end.prompt_tokens - TAIL)
        longer = "!" * 300 + session.tokenizer.decode_bytes(first).decode()
        _, next_end = told(session, longer + "!" * 20)
        assert next_end.reused_tokens >= end.prompt_tokens - TAIL


# ---- on disk -------------------------------------------------------------------------------------------------------


def test_another_process_goes_on_from_the_prompt_cache(path: Path, fresh: Engine, tmp_path: Path) -> None:
    prompt, answer = ids(300), ids(20, seed=1)
    first, second, third = (opened(path) for _ in range(3))
    first.reuse(prompt)
    first.prefill([*prompt, *answer])
    PromptCache(tmp_path).store(first)
    assert PromptCache(tmp_path).restore(second, prompt) == second.reuse(prompt) == 300 - TAIL
    assert nmse(second.prefill(prompt[300 - TAIL :]), read(fresh, prompt)) <= BOUND
    longer = [*prompt, *answer, *ids(20, seed=2)]
    assert PromptCache(tmp_path).restore(third, longer) == third.reuse(longer) == 320
    assert nmse(third.prefill(longer[320:]), read(fresh, longer)) <= BOUND
    assert PromptCache(tmp_path).restore(second, [*prompt[:200], 5, 6]) == 0  # no state that far back
    for engine in (first, second, third):
        engine.close()
