"""`tools/bench_serve.py` and its client, against a server with a tiny model."""

from __future__ import annotations

import socket
import sys
from importlib import import_module
from pathlib import Path
from threading import Thread

import pytest

pytest.importorskip("starlette")

from served import Served, server, tiny  # noqa: F401  fixtures

sys.path.append(str(Path(__file__).parents[1] / "tools"))
bench_serve, http_load = import_module("bench_serve"), import_module("http_load")


def test_answers_of_several_clients_are_those_of_one(server: Served) -> None:  # noqa: F811
    target = bench_serve.Target(server.url, "", "none", 6, 5)
    found = bench_serve.measure(target, 3, 7, 4)
    assert [found[name] for name in ("requests", "lost", "mixed", "different", "errors")] == [7, 0, 0, 0, []]
    assert 7 < found["tokens"] <= 42 and found["tokens_per_second"] > 0
    assert 0 < found["first_token_p50"] <= found["first_token_p95"] <= found["seconds"]


def test_a_request_that_is_refused_is_lost(server: Served) -> None:  # noqa: F811
    answer = bench_serve.Target(server.url, "no-such-model", "none", 6, 5).ask("x")
    assert answer.error.startswith("status 404") and answer.tokens == 0


def test_what_a_server_cuts_or_refuses_to_take_is_an_error() -> None:
    cut = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1a\r\ndata: {"choices": []}\n\n'
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_twice() -> None:
            for data in (b"", cut):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(data)

        Thread(target=answer_twice, daemon=True).start()
        address = listener.getsockname()
        nothing, part = http_load.exchange(address, [b"GET / HTTP/1.1\r\n\r\n"] * 2, 1)
    assert nothing.status == 0 and bench_serve.answered(nothing).error
    assert part.status == 200 and "ValueError" in bench_serve.answered(part).error
    assert http_load.exchange(address, [b"x"], 1)[0].error
