"""Hostile requests to every route of `serve`, without sockets and without answers; see test_fuzz.

All that comes before the scheduler: HTTP as the application sees it, fields, prompts, functions and forms. The default
lane of the tests draws a few requests.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

from fuzzing import SEED, Lane, altered, damaged, lane, written  # noqa: F401  a fixture
from test_serve_safety import GOOD, mutated
from vocabularies import spm

from llmlocal import tokenizer
from llmlocal.serving.app import ROUTES, application
from llmlocal.serving.http.errors import ApiError
from llmlocal.serving.http.guard import Access
from llmlocal.serving.service import Service
from llmlocal.serving.settings import Settings
from llmlocal.serving.text_model import TextModel

METHODS = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "post", ""]
PATHS = ["/v1/models/x", "/v1/models/..%2f", "/x", "//health", "/v1/chat/completions/", "/\x00", "/v1/mod\xe9ls"]
HEADERS = [
    (b"host", b"evil.example"), (b"host", b""), (b"host", b"localhost:99999999"), (b"origin", b"http://[::1"),
    (b"origin", b"null"), (b"authorization", b"Bearer \xff"), (b"content-type", b"text/plain"), (b"content-type", b""),
    (b"content-length", b"-1"), (b"x", b"y" * 20_000), (b"cookie", b"a=b"), (b"sec-fetch-site", b"cross-site"),
]  # fmt: skip


class HeldTextModel(TextModel):
    """A model with a vocabulary and a chat template, which answers nothing."""

    def __init__(self) -> None:
        self.name, self._settings = "tiny", Settings(template="chatml")
        words = tokenizer.load(metadata := spm("▁the", "▁dog", **dict.fromkeys(("fim_pre_token_id",), 3)))
        gguf = SimpleNamespace(metadata=metadata)
        self.session = SimpleNamespace(tokenizer=words, gguf=gguf, check_size=lambda *_: None, n_ctx=64)  # type: ignore[assignment]
        self._recommended, self.scheduler = {}, SimpleNamespace(room=4)  # type: ignore[assignment]
        chosen = {tools: self._choose_template(tools) for tools in (False, True)}
        self._template = chosen.__getitem__  # type: ignore[assignment]

    async def prepared(self, make: Callable[[], Any]) -> Any:
        return make()


class HeldPool:
    """The model under every name, and none that makes vectors."""

    entries: tuple[Any, ...] = ()

    def __init__(self) -> None:
        self.model = HeldTextModel()

    def loaded(self) -> list[Any]:
        return []

    async def text_model(self, name: str | None) -> TextModel:
        return self.model

    async def vector_model(self, name: str | None, use: str) -> Any:
        raise ApiError(404, "there is no such model")


class NoAnswers(Service):
    """Everything is checked, and no answer is begun."""

    def answers(self, model: TextModel, requests: Any) -> Any:
        raise ApiError(503, "an answer would be begun now")


def drawn(rng: Random) -> tuple[dict[str, Any], bytes]:
    """A scope as servers give it to applications, and a body."""
    path, method = rng.choice(list(GOOD)), "POST"
    body = GOOD[path]
    for _ in range(rng.choice([1, 1, 2, 3])):
        body = mutated(rng, body) if rng.random() < 0.5 else altered(body, rng)
    data = written(body)
    if rng.random() < 0.1:
        data = damaged(data, rng)
    headers = {b"host": b"localhost", b"content-type": b"application/json"}
    if rng.random() < 0.1:
        path, method = rng.choice([*PATHS, *(route for _, route, _ in ROUTES)]), rng.choice(METHODS)
    if rng.random() < 0.1:
        headers |= dict([rng.choice(HEADERS)])
    scope = {"type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode()}
    scope |= {"query_string": b"", "headers": [*headers.items()], "scheme": "http", "server": ("127.0.0.1", 1)}
    return scope, data


async def asked(app: Any, scope: dict[str, Any], data: bytes) -> tuple[int, bytes]:
    """Status and body of what an application answers."""
    sent: list[dict[str, Any]] = []
    bodies = iter([data])

    async def receive() -> dict[str, Any]:
        if (body := next(bodies, None)) is None:
            await asyncio.Event().wait()  # the client stays, and says no more
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def test_requests(lane: Lane) -> None:  # noqa: F811
    """Each is refused in its protocol's words, or would be answered; none is an internal error."""
    failures: list[Exception] = []
    app = application(NoAnswers(HeldPool(), failures.append), Access(), lambda *_: None)  # type: ignore[arg-type]

    async def all_of_them() -> None:
        for number, rng in lane("requests", 5_000):
            scope, data = drawn(rng)
            status, said = await asked(app, scope, data)
            at = f"#{number} of seed {SEED}: {scope['path']} {data[:400]!r}: {status} {failures[-1:]}"
            assert 200 <= status < 500 or (status == 503 and b"begun now" in said), at
            if scope["method"] == "POST" and status >= 400 and said:
                assert json.loads(said), at
        assert not [failure for failure in failures if not isinstance(failure, ApiError)]

    asyncio.run(all_of_them())
