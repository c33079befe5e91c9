"""What a server refuses, and what it survives: malformed requests, slow clients, and those that leave."""

from __future__ import annotations

import json
import os
import random
import socket
import stat
import threading
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from served import PATIENCE, Served, running, says, sent, server, tiny  # noqa: F401  fixtures

from llmlocal.serving.http import body as bodies
from llmlocal.serving.http import server as servers
from llmlocal.serving.http.errors import ApiError
from llmlocal.serving.http.fields import parsed

CHAT = {"messages": [{"role": "user", "content": "the dog"}], "max_tokens": 2}

# ---- malformed requests ---------------------------------------------------------------------------------------------


def requested(body: bytes, path: str = "/v1/chat/completions", headers: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n{headers}\r\n".encode() + body


RAW = {
    "no request": b"hello\r\n\r\n",
    "bytes": bytes(range(1, 256)) + b"\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "long headers": b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
    "many headers": b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 8_000 + b"\r\n",
    "negative length": b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "endless length": b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
    "large length": requested(b"").replace(b"Content-Length: 0", b"Content-Length: 99999999"),
    "smuggled": requested(b"{}", headers="Transfer-Encoding: chunked\r\n"),
    "bad chunk": requested(b"zz\r\n{}\r\n").replace(b"Content-Length: 8", b"Transfer-Encoding: chunked"),
    "method": b"BREW /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "path": b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "version": b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "upgrade": b"GET /health HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("name", RAW)
def test_malformed_http_is_refused(server: Served, name: str) -> None:  # noqa: F811
    answer = sent(server, RAW[name])
    assert answer[:10] == b"HTTP/1.1 4", answer[:200]
    assert server.ask("GET", "/health")[0] == 200


BODIES = {
    "empty": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"1",
    "NaN": b'{"messages": [], "temperature": NaN}',
    "infinity": b'{"temperature": 1e999}',
    "a long number": b'{"seed": ' + b"9" * 5000 + b"}",
    "no UTF-8": b'{"a": "\xff"}',
    "deep": b'{"a":' * 100_000,
    "deep lists": b'{"tools": ' + b"[" * 200 + b"]" * 200 + b"}",
    "zeros": b"\x00" * 100,
}


@pytest.mark.parametrize("name", BODIES)
def test_malformed_json_is_refused(server: Served, name: str) -> None:  # noqa: F811
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/rerank", "/tokenize"):
        assert sent(server, requested(BODIES[name], path)).startswith(b"HTTP/1.1 400"), path


def test_a_body_has_a_limit(server: Served, monkeypatch: Any) -> None:  # noqa: F811
    monkeypatch.setattr(bodies, "MOST_BYTES", 1000)
    status, _ = server.ask("POST", "/tokenize", {"content": "x" * 2000})
    assert status == 413
    chunked = requested(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    assert sent(server, chunked + b"800\r\n" + b"x" * 2048 + b"\r\n").startswith(b"HTTP/1.1 413")


def test_halves_of_characters_are_replaced() -> None:
    assert parsed(rb'{"a": ["\ud800", "\udc80"]}').list("a") == ["\ufffd", "\ufffd"]
    with pytest.raises(ApiError, match="nested too deeply"):
        parsed(b'{"a":' * 70 + b"1" + b"}" * 70)


VALUES = [None, True, False, 0, -1, 1, 1.5, 1e308, 10**30, "", "x", "auto", "\ud83d", [], {}, [[]], [None], {"a": 1}]
VALUES += [[{}], {"type": "text"}, {"type": "function"}, [{"role": "user", "content": "x"}], [1, 2], ["x"], "x" * 3000]
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "tiny", "messages": [{"role": "user", "content": "the dog"}], "max_tokens": 1, "temperature": 0.5,
        "top_p": 0.9, "n": 1, "stop": ["x"], "seed": 1, "logprobs": True, "top_logprobs": 1, "stream": False,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "auto", "logit_bias": {"5": 1}, "reasoning_effort": "low", "response_format": {"type": "text"},
    },
    "/v1/completions": {"model": "tiny", "prompt": "the dog", "max_tokens": 1, "echo": False, "logprobs": 1, "n": 1},
    "/v1/messages": {
        "model": "tiny", "messages": [{"role": "user", "content": [{"type": "text", "text": "the dog"}]}],
        "max_tokens": 1, "system": "x", "stop_sequences": ["x"], "thinking": {"type": "enabled", "budget_tokens": 9},
        "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "auto"}, "stream": True,
    },
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "the dog"}]},
    "/v1/responses": {
        "model": "tiny", "input": [{"role": "user", "content": [{"type": "input_text", "text": "the dog"}]}],
        "max_output_tokens": 1, "instructions": "x", "reasoning": {"effort": "low"},
        "text": {"format": {"type": "text"}},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}], "stream": True,
    },
    "/api/chat": {
        "model": "tiny", "messages": [{"role": "user", "content": "the dog"}], "think": True, "keep_alive": "5m",
        "options": {"num_predict": 1, "temperature": 0.5, "stop": ["x"], "num_ctx": 64}, "stream": False,
    },
    "/api/generate": {"model": "tiny", "prompt": "the dog", "options": {"num_predict": 1}, "raw": True},
    "/api/show": {"model": "tiny"},
    "/infill": {"input_prefix": "the", "input_suffix": "dog", "n_predict": 1, "input_extra": []},
    "/tokenize": {"content": "the dog", "add_special": True, "with_pieces": False},
    "/apply-template": {"messages": [{"role": "user", "content": "the dog"}], "reasoning_effort": "low"},
    "/detokenize": {"tokens": [1, 2, 3]},
    "/v1/embeddings": {"input": ["x"], "model": "tiny"},
    "/v1/rerank": {"query": "x", "documents": ["x"], "model": "tiny"},
}  # fmt: skip


def mutated(rng: random.Random, value: Any) -> Any:
    """`value` with something in it replaced, removed or added."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        made, key = dict(value), rng.choice(list(value))
        kind = rng.random()
        if kind < 0.1:
            del made[key]
        elif kind < 0.2:
            made[rng.choice(["foo", "", "messages", "content", "\x00"])] = rng.choice(VALUES)
        else:
            made[key] = mutated(rng, made[key])
        return made
    if isinstance(value, list) and value and rng.random() < 0.7:
        made_list = list(value)
        i = rng.randrange(len(value))
        made_list[i] = mutated(rng, made_list[i])
        return made_list * rng.choice([1, 1, 1, 3])
    return rng.choice(VALUES)


def test_fuzzed_requests_are_answered_and_leave_nothing_behind(server: Served, request: Any) -> None:  # noqa: F811
    """Wrong values in every field of every route, and bytes changed at random: 2xx or 4xx each, and no leak."""
    count = 4000 if request.config.getoption("--slow") else 250
    rng, failures = random.Random(7), len(server.failures)
    server.quiet()
    files, threads = len(os.listdir("/proc/self/fd")) if Path("/proc").exists() else 0, threading.active_count()
    for i in range(count):
        path = rng.choice(list(GOOD))
        body = GOOD[path]
        for _ in range(rng.choice([1, 1, 2, 3])):
            body = mutated(rng, body)
        data = bytearray(json.dumps(body).encode("utf-8", "surrogatepass"))
        if rng.random() < 0.2 and data:
            data[rng.randrange(len(data))] = rng.randrange(256)
        status, _ = server.ask("POST", path, bytes(data))
        assert 200 <= status < 500, (i, path, bytes(data))
    server.quiet()
    assert server.ask("POST", "/v1/chat/completions", CHAT)[0] == 200
    assert server.failures[failures:] == [] and threading.active_count() <= threads + 2
    assert not files or len(os.listdir("/proc/self/fd")) <= files + 3


# ---- slow clients, and those that leave -----------------------------------------------------------------------------


def test_slow_headers_and_bodies_are_given_up(tiny: Path, monkeypatch: Any) -> None:  # noqa: F811
    monkeypatch.setattr(servers, "HEADER_PATIENCE", 0.3)
    monkeypatch.setattr(bodies, "PATIENCE", 0.3)
    with running({"tiny": tiny}) as served:
        assert sent(served, b"") == b""  # nothing sent at all: closed
        assert sent(served, b"GET /health HTTP/1.1\r\nHost: local") == b""
        assert sent(served, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.1 200")
        body = requested(json.dumps(CHAT).encode())
        assert sent(served, body[:-5]).startswith(b"HTTP/1.1 408")
        with socket.create_connection(("127.0.0.1", served.port), PATIENCE) as slow:  # a second request on a connection
            slow.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert slow.recv(1 << 16).startswith(b"HTTP/1.1 200")
            slow.sendall(b"GET /health HTT")
            while slow.recv(1 << 16):
                pass


def test_half_closed_connections_end(server: Served) -> None:  # noqa: F811
    sent(server, requested(json.dumps(CHAT).encode()), half_closed=True)
    sent(server, b"GET /health HT", half_closed=True)
    assert server.ask("GET", "/health")[0] == 200


def test_clients_that_vanish_free_their_sequences_within_a_step(server: Served, request: Any) -> None:  # noqa: F811
    """At any moment: while they wait, while their prompt is read, and in the middle of an answer, streamed or not."""
    rng, scheduler = random.Random(3), server.model.scheduler
    said, logged = scheduler.counts.generated_tokens, len(server.log)
    for i in range(1000 if request.config.getoption("--slow") else 40):
        body = {"messages": [{"role": "user", "content": f"{i} the dog " * rng.choice([1, 60])}]}
        body |= {"max_tokens": 400, "stream": i % 2 == 0, "logit_bias": {"2": -100}}
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
            connection.sendall(requested(json.dumps(body).encode()))
            if rng.random() < 0.5:
                connection.settimeout(rng.choice([0.001, 0.02, 0.05]))
                with suppress(TimeoutError):
                    connection.recv(100)
    while len(server.log) <= logged + i:  # until the server has seen the last one leave
        sleep(0.002)
    settled = -1
    while settled != scheduler.counts.generated_tokens:  # a line of the log may be that of an earlier test's request
        settled = scheduler.counts.generated_tokens
        sleep(0.1)
        server.quiet()
    assert (scheduler.busy, scheduler.waiting, scheduler._sequences.free) == (0, 0, scheduler.parallel)
    assert scheduler.counts.generated_tokens - said < 50 * (i + 1)  # of the 400 that each asked for
    before = scheduler.counts.generated_tokens
    assert server.ask("POST", "/v1/chat/completions", CHAT)[0] == 200
    assert scheduler.counts.generated_tokens - before <= 2


def test_an_answer_in_the_making_is_finished_when_the_server_stops(tiny: Path) -> None:  # noqa: F811
    got: list[tuple[int, Any]] = []
    with running({"tiny": tiny}) as served:
        body = CHAT | {"max_tokens": 60, "logit_bias": {"2": -100}}
        thread = threading.Thread(target=lambda: got.append(served.ask("POST", "/v1/chat/completions", body)))
        thread.start()
        while not served.model.scheduler.counts.generated_tokens:
            pass
    thread.join()
    assert got[0][0] == 200 and got[0][1]["usage"]["completion_tokens"] == 60
    with pytest.raises(ConnectionRefusedError):
        served.ask("GET", "/health")


# ---- what is told to others -----------------------------------------------------------------------------------------


def test_logs_and_metrics_hold_no_text(server: Served, says: Any) -> None:  # noqa: F811
    says("a secret answer")
    secret = "my secret question"
    body = {"messages": [{"role": "user", "content": secret}], "max_tokens": 9}
    assert server.ask("POST", f"/v1/chat/completions?q={secret.replace(' ', '+')}", body)[0] == 200
    server.ask("POST", f"/{secret.replace(' ', '-')}", body)
    text = server.ask("GET", "/metrics")[1]
    assert 'llmlocal_requests_total{route="/v1/chat/completions",status="200"}' in text
    assert 'llmlocal_generated_tokens_total{model="tiny"}' in text and "llmlocal_first_token_seconds_bucket" in text
    assert "secret" not in text + repr(server.log)


def test_nothing_that_a_client_names_is_opened(server: Served, monkeypatch: Any, tmp_path: Path) -> None:  # noqa: F811
    trap = tmp_path / "trap"
    os.mkfifo(trap) if hasattr(os, "mkfifo") else trap.touch()  # whoever opens it waits forever
    assert stat.S_ISFIFO(trap.stat().st_mode)
    parts = [{"type": kind, kind: {"url": trap.as_uri()}} for kind in ("image_url", "input_audio", "file", "video_url")]
    for part in parts:
        body = {"messages": [{"role": "user", "content": [part]}]}
        assert server.ask("POST", "/v1/chat/completions", body)[0] == 400
    for field in ("model", "chat_template", "grammar", "lora", "image", "template"):
        assert server.ask("POST", "/v1/chat/completions", CHAT | {field: str(trap)})[0] in (400, 404), field
