"""Servers of models that keep more of a sequence than keys and values: clients that leave harm no other."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from encoder_folders import write_folder
from families import VOCAB
from families.converted import write_converted
from served import PATIENCE, Served, running
from test_serve_safety import requested

from llmlocal.quantize.convert import convert_model

# Recurrent states, with attention and without; windows in rings; latents; an encoder that reads the prompt.
CASES = ("lfm2", "rwkv7", "qwen35", "gemma2-short-window", "gemma3n", "deepseek2-lite", "t5")
QUICK = ("lfm2",)


@pytest.fixture(
    scope="module", params=[case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    if request.param == "t5":
        write_folder("t5", folder)
        path = convert_model(folder, folder / "m.gguf", "F32").path
    else:
        path = write_converted(request.param, folder)
    with running({"tiny": path}, n_ctx=96) as served:
        yield served


def body(rng: random.Random, most: int = 60) -> dict[str, Any]:
    """A request for a text to be continued, some with a beginning that others have, too."""
    first = [7, 8, 9, 10, 11, 12, 13, 14] * rng.randrange(4)
    ids = [*first, *(rng.randrange(3, VOCAB) for _ in range(rng.randrange(1, most - len(first))))]
    return {"prompt": ids, "max_tokens": rng.randrange(1, 24), "temperature": 0, "stream": rng.random() < 0.5}


def left(served: Served, rng: random.Random) -> None:
    """A client that leaves after some time, or stays."""
    made = body(rng)
    if rng.random() < 0.5:
        assert served.ask("POST", "/v1/completions", made)[0] == 200
        return
    with socket.create_connection(("127.0.0.1", served.port), PATIENCE) as connection:
        connection.sendall(requested(json.dumps(made).encode(), "/v1/completions"))
        connection.settimeout(rng.choice([0.001, 0.01, 0.05]))
        with suppress(TimeoutError):
            connection.recv(100)


def test_clients_that_leave_change_no_answer(server: Served, request: pytest.FixtureRequest) -> None:
    rng, asked = random.Random(22), body(random.Random(5)) | {"max_tokens": 20, "stream": False}

    def answer() -> Any:
        status, got = server.ask("POST", "/v1/completions", asked)
        assert status == 200, got
        return got["choices"][0]["text"]

    alone = answer()
    for _ in range(20 if request.config.getoption("--slow") else 2):
        with ThreadPoolExecutor(4) as threads:
            clients = [threads.submit(left, server, random.Random(rng.random())) for _ in range(8)]
            beside = threads.submit(answer)
        for client in clients:
            client.result()
        assert beside.result() == alone == answer()
    server.quiet()
    scheduler = server.model.scheduler
    assert (scheduler.busy, scheduler.waiting, server.failures) == (0, 0, [])
