"""What a prompt shares with others is read once, whichever sequence or file on disk holds it."""

# ruff: noqa: F811  fixtures are imported

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from families.converted import write_converted
from scheduled import CONTEXT, PARALLEL, Client, ids, path, scheduler, shared  # noqa: F401  fixtures

from llmlocal.engine import Engine
from llmlocal.generation.prompt_cache import PromptCache
from llmlocal.generation.session import Session
from llmlocal.quant.kernels.matmul import TILED_TOKENS
from llmlocal.scheduler.scheduler import Scheduler, steady_batch


def test_a_prefix_is_read_once_whoever_asks(scheduler: Scheduler) -> None:
    """By the same sequence, by others while it is being read, and from the sequence of an answer that goes on."""
    prefix = ids(150)
    first = Client(scheduler, prefix + ids(20, 1), 4)
    cold = first.tokens()
    clients = [Client(scheduler, prefix + ids(20, i), 4) for i in (1, 2, 3)]
    ends = [client.all() for client in clients]
    assert [end[-1].reused_tokens for end in ends] == [170 - TILED_TOKENS, 150, 150]
    assert [(e.id, e.logprob) for e in ends[0][:-1]] == cold
    fresh = [ids(128, 50) + ids(20, i) for i in range(3)]
    ends = [client.all() for client in [Client(scheduler, prompt, 2) for prompt in fresh]]
    assert sorted(end[-1].reused_tokens for end in ends) == [0, 128, 128]


def test_copied_prefixes_give_the_logits_of_a_first_reading(scheduler: Scheduler, path: Path) -> None:
    prefix = ids(100)
    for i in range(3):
        Client(scheduler, prefix + ids(20, i), 1).all()
    got = Client(scheduler, prefix + ids(30, 9), 5).tokens()
    other = Scheduler(Session.open(path, n_ctx=CONTEXT, n_threads=1, n_seqs=PARALLEL))
    assert Client(other, prefix + ids(30, 9), 5).tokens() == got
    other.close()


def test_answers_that_share_a_prefix_have_the_bits_of_those_given_alone(path: Path) -> None:
    """Its keys are read once for all of them, and some answers end before the others."""
    least = steady_batch(6)
    scheduler = Scheduler(Session.open(path, n_ctx=CONTEXT, n_threads=2, n_seqs=6), least=least)
    prompts = [ids(100) + ids(9 + i, i) for i in range(9)]
    clients = [Client(scheduler, prompt, 3 + i, seed=i) for i, prompt in enumerate(prompts)]
    together = [client.tokens() for client in clients]
    assert len({scheduler._engine.prefixes.group(seq) for seq in range(6)}) < 6
    scheduler._sequences.forget()
    assert [Client(scheduler, prompt, 3 + i, seed=i).tokens() for i, prompt in enumerate(prompts)] == together
    scheduler.close()


@pytest.mark.parametrize(("common", "reused"), [(60, 60), (20, 20), (14, 0)])
def test_a_long_text_is_not_given_up_for_a_short_beginning(scheduler: Scheduler, common: int, reused: int) -> None:
    """The sequence of a long text is kept while there are others; what the new one shares with it is copied."""
    long = ids(200)
    Client(scheduler, long, 1).all()
    assert Client(scheduler, long[:common] + ids(20, 1), 1).all()[-1].reused_tokens == reused
    assert Client(scheduler, long, 1).all()[-1].reused_tokens == 200 - TILED_TOKENS


def test_recurrent_states_are_copied_from_their_checkpoints(tmp_path: Path) -> None:
    path = write_converted("lfm2", tmp_path)
    engine = Engine.open(path, n_ctx=600, n_threads=1, n_seqs=2, kv_type="f32")
    tokens = np.random.default_rng(0).integers(3, 40, 580).tolist()
    engine.prefill(tokens, 0)
    assert engine.copy_prefix(tokens[:540] + [5] * 12, 0, 1) == engine.length(1) == 512
    assert np.abs(engine.prefill(tokens[512:], 1) - engine.decode(7, 0)).max() > 0
    engine.truncate(560, 1)
    engine.truncate(560, 0)
    np.testing.assert_allclose(engine.prefill(tokens[560:], 0), engine.prefill(tokens[560:], 1), atol=1e-4)
    engine.close()


# ---- prompts on disk -------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder for prompts."""
    return tmp_path / "prompts"


def on_disk(path: Path, kept: Path, n_seqs: int = 2) -> Scheduler:
    """A new scheduler, with nothing in memory."""
    session = Session.open(path, n_ctx=CONTEXT, n_threads=1, n_seqs=n_seqs)
    return Scheduler(session, cache=PromptCache(kept))


def test_prompts_are_restored_after_a_stop(path: Path, kept: Path) -> None:
    first = on_disk(path, kept)
    want = [Client(first, ids(n, n), seed=n).tokens() for n in (150, 170)]
    first.close()
    assert len(list(kept.iterdir())) == 2
    again = on_disk(path, kept)
    clients = [Client(again, ids(n, n), seed=n) for n in (170, 150)]  # in another sequence than before
    got = [client.tokens() for client in clients]
    reused = again.counts.reused_tokens
    again.close()
    assert got == want[::-1] and reused == 170 + 150 - 2 * TILED_TOKENS


def test_a_damaged_entry_is_read_again(path: Path, kept: Path) -> None:
    first = on_disk(path, kept)
    want = Client(first, ids(150)).tokens()
    first.close()
    (entry,) = kept.iterdir()
    data = bytearray(entry.read_bytes())
    data[len(data) // 2] ^= 1
    entry.write_bytes(data)
    again = on_disk(path, kept)
    assert Client(again, ids(150)).tokens() == want and again.counts.reused_tokens == 0
    again.close()


def test_what_was_used_twice_is_saved_before_another_text_takes_its_place(path: Path, kept: Path) -> None:
    scheduler = on_disk(path, kept, n_seqs=1)
    for seed in (1, 2):  # used once each: not worth the disk
        Client(scheduler, ids(150, seed)).all()
    assert not kept.exists()
    Client(scheduler, ids(150, 2)).all()
    Client(scheduler, ids(150, 3)).all()
    assert len(list(kept.iterdir())) == 1
    before = scheduler.counts.reused_tokens
    Client(scheduler, ids(150, 2)).all()
    assert scheduler.counts.reused_tokens == before + 150 - TILED_TOKENS
    scheduler.close()
