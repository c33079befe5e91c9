"""Many requests on one engine: each is answered as if it were alone, in its turn, and none holds up the others."""

# ruff: noqa: F811  fixtures are imported

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import numpy as np
import pytest
from scheduled import CONTEXT, PARALLEL, PATIENCE, Client, held, ids, path, recorded, scheduler, shared  # noqa: F401  fixtures

from llmlocal.chat_format.prompt import Prompt
from llmlocal.engine import Engine
from llmlocal.errors import PromptTooLongError, ResourceError, UsageError
from llmlocal.generation.events import Finished, PromptProgress, Token
from llmlocal.generation.sampler import Sampler
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all
from llmlocal.quant.jit.cpu import target
from llmlocal.quant.kernels.matmul import TILED_TOKENS, few_tokens
from llmlocal.quant.simd.few_tokens import FEW_TOKENS
from llmlocal.scheduler.answer import Answer
from llmlocal.scheduler.request import Failed, QueueFullError
from llmlocal.scheduler.scheduler import Scheduler, steady_batch

# ---- deliveries ----------------------------------------------------------------------------------------------------


def test_deliveries_of_a_step_are_followed_by_one_call(path: Path) -> None:
    """Before the engine runs again, and after the last of them, which is said to be the last for a while."""
    told: list[str] = []
    late: list[bool] = []
    session = Session.open(path, n_ctx=CONTEXT, n_threads=1, n_seqs=3)
    scheduler = Scheduler(session, delivered=lambda last: (told.append("call"), late.append(last))[0])
    run = scheduler._engine.run
    scheduler._engine.run = lambda *some: (told.append("run"), run(*some))[1]  # type: ignore[method-assign]
    clients = [Client(scheduler, ids(20, i), 5) for i in range(3)]
    for client in clients:
        client.answer._deliver = lambda event, put=client.deliveries.put: (told.append("token"), put(event))
    for client in clients:
        client.all()
    scheduler.close()
    assert told[-1] == "call" and told.count("token") >= 12
    assert ("token", "run") not in pairwise(told)
    assert late[-1] and not all(late)


# ---- as if alone ---------------------------------------------------------------------------------------------------


def alone(path: Path, prompt: list[int], seed: int, n: int = 8) -> list[int]:
    """What a session answers."""
    with Session.open(path, n_ctx=CONTEXT, n_threads=1) as session:
        params = SamplingParams(seed=seed, temperature=1.0)
        events = session.answer(Prompt("", prompt, True), max_tokens=n, sampling=params)
        return [event.id for event in events if isinstance(event, Token)]


def test_answers_side_by_side_are_those_of_a_session_bit_for_bit(scheduler: Scheduler, path: Path) -> None:
    """As long as a batch of single tokens is not so large that it is computed in tiles."""
    load_all()
    few = min(few_tokens(FEW_TOKENS[target().isa], BY_NAME["F16"]), PARALLEL)
    prompts = [ids(n, n) for n in (5, 40, 100)][:few]
    first = [Client(scheduler, prompt, seed=7).tokens() for prompt in prompts]
    together = [Client(scheduler, prompt, seed=7) for prompt in prompts]
    assert [client.tokens() for client in together] == first
    assert [[id for id, _ in tokens] for tokens in first] == [alone(path, prompt, 7) for prompt in prompts]


def test_more_requests_than_sequences_are_all_answered(path: Path) -> None:
    """Each by its own seed, and with the probabilities that it would have alone."""
    scheduler = Scheduler(Session.open(path, n_ctx=CONTEXT, n_threads=2, n_seqs=6))
    prompts = [ids(10 + 9 * i, i) for i in range(12)]
    clients = [Client(scheduler, prompt, 6, seed=i) for i, prompt in enumerate(prompts)]
    together = [client.tokens() for client in clients]
    singly = [Client(scheduler, prompt, 6, seed=i).tokens() for i, prompt in enumerate(prompts)]
    scheduler.close()
    for some, others in zip(together, singly, strict=True):
        assert [id for id, _ in some] == [id for id, _ in others]
        np.testing.assert_allclose([p for _, p in some], [p for _, p in others], atol=1e-3)


def test_batches_of_a_steady_size_do_not_depend_on_who_is_beside(path: Path) -> None:
    """Bit for bit, also where a batch is so large that it is computed in tiles."""
    parallel = 12
    least = steady_batch(parallel)
    assert steady_batch(1) == 1 < least <= parallel
    scheduler = Scheduler(Session.open(path, n_ctx=CONTEXT, n_threads=2, n_seqs=parallel), least=least)
    prompts = [ids(10 + 9 * i, i) for i in range(parallel)]
    clients = [Client(scheduler, prompt, 4 + i, seed=i) for i, prompt in enumerate(prompts)]
    together = [client.tokens() for client in clients]
    assert [Client(scheduler, prompt, 4 + i, seed=i).tokens() for i, prompt in enumerate(prompts)] == together
    scheduler.close()


def test_tokens_are_proposed_while_one_answer_is_at_work(path: Path) -> None:
    """Beside others an answer goes on token by token, and its text is the same."""
    session = Session.open(path, n_ctx=CONTEXT, n_threads=2, n_seqs=2, speculate="ngram")
    scheduler = Scheduler(session)
    prompts, greedy = [[5, 6, 7] * 8, [9, 8, 7, 6] * 7], SamplingParams(temperature=0)
    wanted = [alone(path, prompt, 7, 24) for prompt in prompts]
    for prompt, told in zip(prompts, wanted, strict=True):
        client = Client(scheduler, prompt, 24, seed=7)
        assert [id for id, _ in client.tokens()] == told
    together = [Client(scheduler, prompt, n, seed=7) for prompt, n in zip(prompts, (24, 8), strict=True)]
    assert [[id for id, _ in client.tokens()] for client in together] == [wanted[0], wanted[1][:8]]
    counts = scheduler.counts
    before = counts.proposed_tokens, counts.accepted_tokens
    end = Client(scheduler, prompts[0], 24, sampler=Sampler(greedy)).all()[-1]
    assert 0 < end.speculation.accepted <= end.speculation.proposed
    told = end.speculation.proposed, end.speculation.accepted  # of the last run, too
    assert told == (counts.proposed_tokens - before[0], counts.accepted_tokens - before[1])
    scheduler.close()
    assert counts.generated_tokens == 24 * 3 + 32 > counts.steps
    assert counts.proposed_tokens > counts.accepted_tokens >= end.speculation.accepted


def test_log_probabilities_are_those_of_the_logits(scheduler: Scheduler, path: Path) -> None:
    prompt = ids(20)
    (token, end) = Client(scheduler, prompt, 1, logprobs=3, sampler=Sampler(SamplingParams(temperature=0))).all()
    engine = Engine.open(path, n_ctx=CONTEXT, n_threads=1)
    logits = engine.prefill(prompt).astype(np.float64)
    engine.close()
    logs = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
    order = np.argsort(-logs)[:3].tolist()
    assert [id for id, _ in token.best] == order and token.id == order[0] and token.logprob == token.best[0][1]
    np.testing.assert_allclose([p for _, p in token.best], logs[order], rtol=1e-6)
    assert (end.reason, end.prompt_tokens, end.generated_tokens) == ("length", 20, 1)


def test_no_tokens_are_generated_where_none_are_asked_for(scheduler: Scheduler) -> None:
    events = Client(scheduler, ids(70), 0).all()
    assert [type(event) for event in events] == [PromptProgress, PromptProgress, Finished]
    assert events[-1].generated_tokens == 0


def test_an_answer_ends_where_the_context_is_full(scheduler: Scheduler) -> None:
    end = Client(scheduler, ids(CONTEXT - 3), None, sampler=Sampler(SamplingParams(logit_bias={2: -np.inf}))).all()[-1]
    assert (end.reason, end.generated_tokens) == ("context", 4)


# ---- in turn -------------------------------------------------------------------------------------------------------


def test_a_long_prompt_delays_others_by_a_piece_at_a_time(scheduler: Scheduler, monkeypatch: Any) -> None:
    blocker, go = held(scheduler, 40)
    runs = recorded(scheduler, monkeypatch)
    clients = [Client(scheduler, ids(200, 1), 2), Client(scheduler, ids(40, 2), 12)]
    go.set()
    for client in (blocker, *clients):
        assert isinstance(client.all()[-1], Finished)
    pieces = [i for i, run in enumerate(runs) if run[0][1] > 1]
    assert len(pieces) == 9 and all(sum(n for _, n in runs[i]) <= 32 for i in pieces)
    assert all(b - a == 2 for a, b in pairwise(pieces))  # a token of every other answer after each piece
    assert runs[pieces[3]][0][0] != runs[pieces[4]][0][0]  # the short prompt is read before the long one has been


def asked_together(scheduler: Scheduler, monkeypatch: Any, *lengths: int) -> Any:
    """What is run once prompts of these lengths have come while the engine was held."""
    blocker, go = held(scheduler)
    runs = recorded(scheduler, monkeypatch)
    clients = [Client(scheduler, ids(n, n), 1) for n in lengths]
    go.set()
    for client in (blocker, *clients):
        client.all()
    return runs


def test_prompts_take_turns_and_share_a_batch_where_they_fit(scheduler: Scheduler, monkeypatch: Any) -> None:
    runs = asked_together(scheduler, monkeypatch, 16, 16)
    assert [n for _, n in next(run for run in runs if run[0][1] > 1)] == [16, 16]
    runs = asked_together(scheduler, monkeypatch, 96, 64)
    turns = [run[0][0] for run in runs if run[0][1] == 32]
    assert turns[0] != turns[1] and turns[:2] == turns[2:4]


def test_a_few_tokens_are_read_alone(scheduler: Scheduler, monkeypatch: Any) -> None:
    """Beside others they would be computed in another way."""
    runs = asked_together(scheduler, monkeypatch, 12, 5)
    assert [[n for _, n in run] for run in runs if run[0][1] > 1] == [[12], [5]]


def test_the_queue_has_a_limit(scheduler: Scheduler) -> None:
    """Requests for which a sequence is free do not count, and neither do those that were cancelled."""
    blocker, go = held(scheduler)
    clients = [Client(scheduler, ids(10, i), 1) for i in range(PARALLEL - 1 + 4)]
    with pytest.raises(QueueFullError, match="4 requests are waiting"):
        Client(scheduler, ids(10), 1)
    clients.pop().answer.cancel()
    clients.append(Client(scheduler, ids(10), 1))
    with pytest.raises(QueueFullError):
        Client(scheduler, ids(10), 1)
    assert len(scheduler._waiting) == scheduler.waiting == PARALLEL - 1 + 4
    go.set()
    assert all(isinstance(client.all()[-1], Finished) for client in (blocker, *clients))


def test_without_a_queue_requests_are_answered_while_a_sequence_is_free(path: Path) -> None:
    scheduler = Scheduler(Session.open(path, n_ctx=CONTEXT, n_threads=1, n_seqs=1), queue=0)
    blocker, go = held(scheduler)
    with pytest.raises(QueueFullError, match="all sequences are taken"):
        Client(scheduler, ids(10), 1)
    go.set()
    assert isinstance(blocker.all()[-1], Finished)
    scheduler.close()


# ---- ends ----------------------------------------------------------------------------------------------------------


def test_a_cancelled_answer_frees_its_sequence_within_a_step(scheduler: Scheduler, monkeypatch: Any) -> None:
    blocker, go = held(scheduler)
    doomed = [Client(scheduler, ids(200, i), None) for i in range(4)]
    for client in doomed:
        client.answer.cancel()
    blocker.answer.cancel()
    runs = recorded(scheduler, monkeypatch)
    go.set()
    assert Client(scheduler, ids(12), 3).all()[-1].reason == "length"
    assert all(client.deliveries.empty() for client in doomed)
    assert [sum(n for _, n in run) for run in runs] == [
        12,
        1,
        1,
    ] and scheduler._sequences.free == PARALLEL - scheduler.busy


def test_an_answer_that_fails_leaves_the_others_alone(scheduler: Scheduler, monkeypatch: Any) -> None:
    bad = Sampler(SamplingParams(logit_bias={10_000: 1.0}))
    blocker, go = held(scheduler)
    clients = [Client(scheduler, ids(20, 1), 5, sampler=bad), Client(scheduler, ids(20, 2), 5)]
    go.set()
    failed, whole = (client.all()[-1] for client in clients)
    assert isinstance(failed.error, UsageError) and whole.generated_tokens == 5
    blocker.all()

    def fail(parts: Any, outputs: Any) -> Any:
        raise MemoryError

    for step in ("run", "reuse"):  # "reuse" is called when a request gets its sequence
        with monkeypatch.context() as patch:
            patch.setattr(scheduler._engine, step, fail)
            error = Client(scheduler, ids(20), 5).all()[-1].error
            assert "MemoryError" in str(error) and isinstance(error.__cause__, MemoryError)
    end = Client(scheduler, ids(20, 2), 5).all()[-1]
    assert end.generated_tokens == 5 and end.reused_tokens == 0  # what the sequences held is not trusted


def test_impossible_requests_are_refused_at_once(scheduler: Scheduler) -> None:
    with pytest.raises(PromptTooLongError):
        Client(scheduler, ids(CONTEXT + 1))
    with pytest.raises(UsageError, match="stop string is empty"):
        Client(scheduler, ids(5), stop=[""])
    assert scheduler.busy == scheduler.waiting == 0


@pytest.mark.parametrize("grace", [0.0, 60.0])
def test_closing_finishes_or_fails_what_is_at_work(path: Path, grace: float) -> None:
    scheduler = Scheduler(Session.open(path, n_ctx=CONTEXT, n_threads=1, n_seqs=1))
    blocker, go = held(scheduler)
    waiting = Client(scheduler, ids(5))
    closing = Thread(target=scheduler.close, args=(grace,))
    closing.start()
    while scheduler._deadline is None:
        sleep(0.001)
    with pytest.raises(ResourceError, match="stopping"):
        Client(scheduler, ids(5))
    go.set()
    closing.join(PATIENCE)
    assert not closing.is_alive() and isinstance(waiting.all()[-1], Failed)
    assert isinstance(blocker.all()[-1], Finished if grace else Failed)


def test_counts(scheduler: Scheduler) -> None:
    Client(scheduler, ids(40), 5).all()
    Client(scheduler, ids(40), 3).all()
    counts = scheduler.counts
    read = 40 + TILED_TOKENS
    assert (counts.prompt_tokens, counts.reused_tokens, counts.generated_tokens) == (read, 80 - read, 8)
    assert isinstance(Client(scheduler, ids(3), 1).answer, Answer)
