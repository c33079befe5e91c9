"""A scheduler on a tiny model, and clients that ask it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from queue import Queue
from threading import Event
from time import sleep
from typing import Any

import numpy as np
import pytest

from llmlocal.chat_format.prompt import Prompt
from llmlocal.generation.events import Finished
from llmlocal.generation.log_probabilities import ScoredToken
from llmlocal.generation.sampler import Sampler
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.scheduler.counts import Counts
from llmlocal.scheduler.request import Failed, Request
from llmlocal.scheduler.scheduler import Scheduler

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")
PARALLEL, CONTEXT = 3, 256
PATIENCE = 60


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    make_model.make_model("tiny-llama-256", path := tmp_path_factory.mktemp("scheduler") / "m.gguf", form="F16")
    return path


@pytest.fixture(scope="module")
def shared(path: Path) -> Iterator[Scheduler]:
    """Pieces of 32 tokens, PARALLEL sequences of CONTEXT tokens, a queue of four."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmlocal.scheduler.scheduler.PIECE_WORK", 0)
        made = Scheduler(Session.open(path, n_ctx=CONTEXT, n_threads=2, n_seqs=PARALLEL), queue=4)
    yield made
    made.close()


@pytest.fixture
def scheduler(shared: Scheduler) -> Scheduler:
    """A scheduler that has nothing to do, and whose sequences are empty."""
    while shared.busy or shared.waiting:
        sleep(0.001)
    shared._sequences.forget()
    shared.counts = Counts()
    return shared


class Client:
    """Sends a request, and collects what is delivered."""

    def __init__(self, scheduler: Scheduler, ids: list[int], max_tokens: int | None = 8, **more: Any) -> None:
        sampler = more.pop("sampler", None) or Sampler(SamplingParams(seed=more.pop("seed", 1), temperature=1.0))
        self.deliveries: Queue[Any] = Queue()
        request = Request(Prompt("", ids, True), sampler, max_tokens, logprobs=more.pop("logprobs", 0), **more)
        self.answer = scheduler.submit(request, self.deliveries.put)

    def all(self) -> list[Any]:
        """Everything up to the end."""
        got = [self.deliveries.get(timeout=PATIENCE)]
        while not isinstance(got[-1], Finished | Failed):
            got.append(self.deliveries.get(timeout=PATIENCE))
        return got

    def tokens(self) -> list[tuple[int, float]]:
        return [(event.id, event.logprob) for event in self.all() if isinstance(event, ScoredToken)]


def ids(n: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(3, 400, n).tolist()


def recorded(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[int, int]]]:
    """What the engine runs from now on: for each batch (sequence, number of tokens)."""
    runs: list[list[tuple[int, int]]] = []
    run = scheduler._engine.run

    def record(parts: Any, outputs: Any) -> Any:
        runs.append([(seq, len(part)) for seq, part in parts])
        return run(parts, outputs)

    monkeypatch.setattr(scheduler._engine, "run", record)
    return runs


def held(scheduler: Scheduler, max_tokens: int = 4) -> tuple[Client, Event]:
    """A client whose first delivery waits for the event: meanwhile nothing else goes on."""
    reached, go = Event(), Event()
    client = object.__new__(Client)
    client.deliveries = Queue()

    def deliver(delivery: Any) -> None:
        reached.set()
        assert go.wait(PATIENCE)
        client.deliveries.put(delivery)

    request = Request(Prompt("", ids(12, 99), True), Sampler(SamplingParams(seed=1)), max_tokens)
    client.answer = scheduler.submit(request, deliver)
    assert reached.wait(PATIENCE)
    return client, go
