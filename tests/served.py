"""A server on a tiny model in a thread of the tests' process, and answers that are scripted."""

from __future__ import annotations

import http.client
import json
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from time import sleep
from typing import TYPE_CHECKING, Any

import pytest

from llmlocal.errors import LlmlocalError
from llmlocal.generation.sampler import Sampler
from llmlocal.serving.app import application
from llmlocal.serving.http.server import Server
from llmlocal.serving.model_pool import ModelPool
from llmlocal.serving.run import Listener
from llmlocal.serving.service import Service
from llmlocal.serving.settings import Settings
from llmlocal.serving.text_model import TextModel

if TYPE_CHECKING:
    import openai

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")
CONTEXT, QUEUE, PARALLEL = 640, 8, 3
PATIENCE = 60
# A template of its own, with functions and thinking; their tags are plain text of the vocabulary.
TEMPLATE = (
    "{% if tools %}tools: {{ tools | tojson }}\n{% endif %}"
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% if enable_thinking is defined and not enable_thinking %}"
    "<think></think>{% endif %}{% endif %}"
)


@dataclass
class Served:
    """A running server."""

    url: str
    port: int
    pool: ModelPool
    failures: list[Exception] = field(default_factory=list)
    log: list[tuple[str, str, int, float]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def model(self) -> TextModel:
        """The model that generates text."""
        return next(m for m in self.pool.loaded() if isinstance(m, TextModel))

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}) -> tuple[int, Any]:
        """Status and body of a response, parsed if it is JSON; `body` is bytes, or becomes JSON."""
        status, _, data = self.raw(method, path, body, headers)
        try:
            return status, json.loads(data)
        except ValueError:
            return status, data.decode()

    def raw(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        kind = {"content-type": "application/json"} if body is not None else {}
        try:
            connection.request(method, path, data, {**kind, **headers})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def quiet(self) -> None:
        """Wait until the model has nothing to do."""
        while self.model.scheduler.waiting or self.model.scheduler.busy:
            sleep(0.002)


@contextmanager
def running(paths: Mapping[str, Path], keys: tuple[str, ...] = (), **settings: Any) -> Iterator[Served]:
    """A server of these models."""
    listener = Listener.open("127.0.0.1", 0, None)
    given = {"n_ctx": CONTEXT, "n_threads": 2, "parallel": PARALLEL, "queue": QUEUE, **settings}
    pool = ModelPool(paths, Settings(**given))
    served = Served(listener.url, listener.socket.getsockname()[1], pool)
    access = listener.access.__class__(keys, listener.access.hosts)
    app = application(
        Service(pool, served.failures.append, served.told.append), access, lambda *line: served.log.append(line)
    )
    ready = Event()
    server = Server(app, pool, 5, ready.set)
    thread = Thread(target=server.run_on, args=(listener.socket,), name="tests-server")
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield served
    finally:
        server.stop()
        thread.join(PATIENCE)
        listener.socket.close()
        assert not thread.is_alive()


def write_tiny(path: Path) -> Path:
    """A tiny model with random weights, whose template has functions and thinking."""
    words = make_model.own_vocabulary() | {"tokenizer.chat_template": TEMPLATE}
    make_model.make_model("tiny-llama-256", path, words, form="F16")
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("served") / "tiny.gguf")


@pytest.fixture(scope="module")
def server(tiny: Path) -> Iterator[Served]:
    with running({"tiny": tiny}) as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[openai.OpenAI]:
    import openai

    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


@pytest.fixture
def prompts(server: Served, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that the model gets."""
    asked: list[str] = []
    submit = server.model.scheduler.submit
    monkeypatch.setattr(server.model.scheduler, "submit", lambda r, d: asked.append(r.prompt.text) or submit(r, d))
    return asked


@pytest.fixture
def says(server: Served, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts texts in the model's mouth: the n-th answer of a request is the n-th text."""

    def script(*texts: str) -> None:
        tokenizer = server.model.tokenizer
        written = [b"".join(map(tokenizer.piece, tokenizer.encode(text, add_special=False))) for text in texts]
        made = iter(written * 50)

        class Scripted(Sampler):
            def __init__(self, params: Any) -> None:
                super().__init__(params)
                self.script = next(made)

            def sample(self, logits: Any, history: Any = (), step: int = 0) -> int:
                """Goes on after what was said, some of which may have been forced, in other tokens."""
                said = b"".join(map(tokenizer.piece, history[len(history) - step :]))
                ids = tokenizer.encode(self.script[len(said) :], add_special=False, continues=True)
                return ids[0] if ids else min(tokenizer.stop_ids)

        monkeypatch.setattr("llmlocal.serving.options.Sampler", Scripted)

    return script


def sent(served: Served, data: bytes, *, half_closed: bool = False) -> bytes:
    """What comes back for these bytes, until the server closes or falls silent after an answer."""
    with socket.create_connection(("127.0.0.1", served.port), PATIENCE) as connection:
        connection.sendall(data)
        if half_closed:
            connection.shutdown(socket.SHUT_WR)
        got = b""
        while b"\r\n\r\n" not in got:
            part = connection.recv(1 << 16)
            if not part:
                break
            got += part
        return got


def fails(error: LlmlocalError) -> Callable[..., Any]:
    """A function that raises."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail
