"""`llmlocal serve`: its options, what it refuses, how it stops, and what it leaves behind."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from served import PATIENCE, tiny  # noqa: F401  fixtures

from llmlocal.generation.prompt_cache import folder
from llmlocal.serving.http import server as servers
from llmlocal.serving.settings import Settings

KEY = "0123456789abcdef"
Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No model is loaded: a command that would run says so."""
    monkeypatch.setattr("llmlocal.serving.run.Server", lambda *_: pytest.fail("the server was started"))
    yield


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["m.gguf", "--host", "0.0.0.0"], "lets other machines in"),
        (["m.gguf", "--idle-unload", "10"], "must be a duration"),
        (["m.gguf", "--api-key-file", "nothing"], "no such file"),
        (["nothing.gguf", "--port", "0"], "nothing.gguf: no such file"),
        (["a.gguf", "b.gguf", "--port", "0", "--lora", "c"], "--lora changes one model, 2 are served"),
        (["a.gguf", "--lora", "c=nan"], "SCALE is not finite"),
        (["--host", "nowhere.invalid", "--api-key-file", "keys"], "not an address of this machine"),
    ],
)
def test_the_command_refuses(
    said: Said, no_server: None, tmp_path: Path, monkeypatch: Any, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("keys").write_text(KEY)
    for name in "ab":
        Path(f"{name}.gguf").touch()
    code, out, err = said("serve", *arguments)
    assert code in (2, 3) and out == "" and words in err and err.count("\n") <= 2


def test_every_option_reaches_the_server(said: Said, tiny: Path, tmp_path: Path, monkeypatch: Any) -> None:  # noqa: F811
    got: list[Any] = []
    monkeypatch.setattr("llmlocal.serving.run.serve_until_stopped", lambda *given, **more: got.extend([*given, more]))
    (keys := tmp_path / "keys").write_text(KEY)
    reach = ["--host", "localhost", "--port", "0", "--api-key-file", str(keys)]
    sharing = ["--parallel", "2", "--queue", "0", "--idle-unload", "2h", "--grace", "7", "--prompt-cache", "off"]
    loading = ["--template", "chatml", "--ctx", "99", "--threads", "1", "--kv-type", "q8_0", "--weights", "copy"]
    loading += ["--lora", "one", "--lora", "a=b.gguf=-0.5"]
    assert said(
        "serve", tiny, *reach, *sharing, *loading, "--speculate", "draft", "--draft", tiny, "--yes", "--verbose"
    ) == (0, "", "")
    listener, paths, settings, grace, _, more = got
    assert listener.access.keys == (KEY,) and paths == {"tiny": tiny} and grace == 7 and more == {"verbose": True}
    adapters = ((Path("one"), 1.0), (Path("a=b.gguf"), -0.5))
    assert settings == Settings(99, 1, 2, 0, "q8_0", "copy", "draft", True, "chatml", 7200.0, False, tiny, adapters)


def test_the_packages_are_named_where_they_are_missing(said: Said, monkeypatch: Any) -> None:
    monkeypatch.setattr("llmlocal.cli.served_models.find_spec", lambda name: None)
    code, _, err = said("serve", "m.gguf")
    assert code == 2 and "serve needs starlette and uvicorn" in err and "pip install 'llmlocal[serve]'" in err


def test_the_command_serves_until_it_is_stopped(said: Said, tiny: Path, monkeypatch: Any) -> None:  # noqa: F811
    """In the main thread a signal stops it, with exit code 0."""
    monkeypatch.setattr(servers.Server, "stop", lambda self: setattr(self, "should_exit", True))
    monkeypatch.setattr("llmlocal.serving.model_pool.ModelPool.load_first", signalled(signal.SIGTERM))
    code, out, err = said("serve", tiny, "--port", "0")
    assert code == 0 and out == "" and "serving tiny on http://127.0.0.1:" in err


def test_ctrl_c_ends_loading(said: Said, tiny: Path, monkeypatch: Any) -> None:  # noqa: F811
    finished: list[bool] = []

    def load(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(200):
            sleep(0.01)
        finished.append(True)

    monkeypatch.setattr("llmlocal.serving.model_pool.TextModel", load)
    assert said("serve", tiny, "--port", "0")[0] == 130 and not finished


def signalled(number: int) -> Callable[..., Any]:
    """Sends this process a signal a moment later."""

    def load(*_: Any) -> None:
        threading.Timer(0.3, os.kill, (os.getpid(), number)).start()

    return load


@pytest.mark.slow
def test_a_server_that_is_killed_leaves_a_sound_cache(tiny: Path) -> None:  # noqa: F811
    """kill -9 while prompts are saved, and start again: answers are the same, and nothing is damaged."""
    command = [sys.executable, "-m", "llmlocal", "serve", str(tiny), "--port", "0", "--ctx", "512", "--parallel", "2"]
    texts, cached, kept = set(), [], {*folder().glob("*")}
    unique = random.SystemRandom().randrange(10**9)
    for wait in (0.0, 0.02, 0.1, None, None):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        ready = next(line for line in process.stderr if "127.0.0.1:" in line)
        port = int(ready.partition("127.0.0.1:")[2].split()[0])
        for word in ("dog", "cat"):
            body = {"prompt": f"{unique} " + f"the {word} and " * 80, "max_tokens": 8, "seed": 1}
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
            got = json.loads(connection.getresponse().read())
            connection.close()
            texts.add((word, got["choices"][0]["text"]))
            cached.append(got["usage"]["prompt_tokens_details"]["cached_tokens"])
        process.terminate()
        if wait is not None:
            sleep(wait)
            process.kill()
        said = process.communicate(timeout=PATIENCE)[1]
        assert "damaged" not in said and "error" not in said
    assert len(texts) == 2 and cached[:2] == [0, 0] and process.returncode == 0
    assert cached[-1] > 200 and all(n in (0, cached[-1]) for n in cached)
    for path in {*folder().glob("*")} - kept:
        path.unlink()
