"""Ollama's protocol, and texts filled in between two others."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from served import Served, says, server, tiny  # noqa: F401  fixtures

from llmlocal.errors import ResourceError
from llmlocal.gguf import Array, ValueType
from llmlocal.serving.ollama.models import as_json

Says = Callable[..., None]
ASK: Any = [{"role": "user", "content": "the dog and the cat"}]
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'


def lines(server: Served, path: str, body: Any) -> list[Any]:  # noqa: F811
    """What is streamed."""
    status, headers, data = server.raw("POST", path, body)
    assert status == 200 and headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in data.splitlines()]


@pytest.fixture
def asked(server: Served, monkeypatch: pytest.MonkeyPatch) -> list[Any]:  # noqa: F811
    """The requests that the scheduler gets."""
    requests: list[Any] = []
    submit = server.model.scheduler.submit
    monkeypatch.setattr(server.model.scheduler, "submit", lambda r, d: requests.append(r) or submit(r, d))
    return requests


def test_metadata_that_json_cannot_hold() -> None:
    floats = Array(ValueType.F32, 2, memoryview(struct.pack("<2f", 1.5, math.inf)))
    many = Array(ValueType.U8, 1000, memoryview(bytes(1000)))
    found = as_json({"a": math.nan, "b": floats, "c": 1.0, "d": many, "e": "x"})
    assert found == {"a": None, "b": [1.5, None], "c": 1.0, "e": "x"}


def test_chat(server: Served, says: Says) -> None:  # noqa: F811
    says(f"<think>let me see</think>it is blue{CALL}")
    body = {"model": "tiny:latest", "messages": ASK, "tools": [TOOL]}
    status, whole = server.ask("POST", "/api/chat", body | {"stream": False})
    message = whole["message"]
    assert status == 200 and (message["content"], message["thinking"]) == ("it is blue", "let me see")
    assert message["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "Oslo"}}
    assert whole["done"] and whole["done_reason"] == "stop" and whole["eval_count"] > 5 < whole["prompt_eval_count"]
    streamed = lines(server, "/api/chat", body)
    assert "".join(one["message"].get("content", "") for one in streamed) == "it is blue"
    assert "".join(one["message"].get("thinking", "") for one in streamed) == "let me see"
    assert [one["done"] for one in streamed] == [False] * (len(streamed) - 1) + [True]
    assert [call for one in streamed for call in one["message"].get("tool_calls", ())]


def test_options_are_obeyed(server: Served, asked: list[Any]) -> None:  # noqa: F811
    options = {"temperature": 0.25, "top_k": 7, "seed": 3, "num_predict": 2, "stop": ["x"], "num_ctx": 512}
    options["num_gpu"] = 1
    body = {"messages": ASK, "options": options, "think": False, "stream": False, "keep_alive": -1}
    assert server.ask("POST", "/api/chat", body)[1]["done_reason"] == "length"
    request = asked[0]
    params = request.sampler.params
    assert (params.temperature, params.top_k, params.seed) == (0.25, 7, 3)
    assert (request.max_tokens, request.stop) == (2, ["x"]) and request.prompt.text.endswith("<think></think>")


def test_results_of_tools_go_back(server: Served, asked: list[Any]) -> None:  # noqa: F811
    call = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    messages = [
        *ASK,
        {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [call]},
        {"role": "tool", "tool_name": "weather", "content": "rain"},
    ]
    server.ask("POST", "/api/chat", {"messages": messages, "options": {"num_predict": 1}, "stream": False})
    assert asked[0].prompt.text.endswith(f"assistant: {CALL}tool: rainassistant:")


def test_generate(server: Served, says: Says, asked: list[Any]) -> None:  # noqa: F811
    says("it is blue")
    body = {"model": "tiny", "prompt": "the sky", "system": "be short"}
    assert server.ask("POST", "/api/generate", body | {"stream": False})[1]["response"] == "it is blue"
    assert "".join(one["response"] for one in lines(server, "/api/generate", body)) == "it is blue"
    assert asked[0].prompt.text == "system: be shortuser: the skyassistant:"
    server.ask("POST", "/api/generate", {"prompt": "the sky", "raw": True, "stream": False})
    assert asked[2].prompt.text == "the sky"


def test_what_is_offered(server: Served) -> None:  # noqa: F811
    (model,) = server.ask("GET", "/api/tags")[1]["models"]
    assert model["name"] == "tiny" and model["size"] > 1000 and model["details"]["family"] == "llama"
    status, shown = server.ask("POST", "/api/show", {"model": "tiny"})
    assert status == 200 and shown["model_info"]["general.architecture"] == "llama"
    assert shown["capabilities"] == ["completion", "tools"] and "tool_call" in shown["template"]
    assert "tokenizer.ggml.tokens" not in shown["model_info"]
    assert server.ask("POST", "/api/show", {"model": "other"})[0] == 404
    assert server.ask("GET", "/api/version")[1]["version"]


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "a field that nobody reads": ("/api/chat", {"messages": ASK, "foo": 1}, "foo"),
    "an option that nobody reads": ("/api/chat", {"messages": ASK, "options": {"foo": 1}}, "options.foo"),
    "mirostat": ("/api/chat", {"messages": ASK, "options": {"mirostat": 3}}, "mirostat is 3"),
    "a sampler that there is not": ("/api/chat", {"messages": ASK, "options": {"tfs_z": 0.5}}, "options.tfs_z"),
    "temperature": ("/api/chat", {"messages": ASK, "options": {"temperature": -1}}, "temperature"),
    "context": ("/api/chat", {"messages": ASK, "options": {"num_ctx": 4096}}, "options.num_ctx"),
    "a schema": ("/api/chat", {"messages": ASK, "format": {"not": {}}}, "format"),
    "a format": ("/api/generate", {"prompt": "x", "format": "xml"}, "format"),
    "a picture": ("/api/chat", {"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]}, "images"),
    "a template": ("/api/generate", {"prompt": "x", "template": "{{ .Prompt }}"}, "template"),
    "think": ("/api/chat", {"messages": ASK, "think": "much"}, "think"),
    "no tokens for the middle": ("/infill", {"input_prefix": "a", "input_suffix": "b"}, "fill in the middle"),
    "a suffix": ("/v1/completions", {"prompt": "a", "suffix": "b"}, "fill in the middle"),
    "a suffix of ids": ("/v1/completions", {"prompt": [5], "suffix": "b"}, "suffix"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(server: Served, name: str) -> None:  # noqa: F811
    path, body, words = WRONG[name]
    status, got = server.ask("POST", path, body)
    assert status == 400 and words in (got["error"] if path.startswith("/api") else got["error"]["message"])


def test_a_failure_within_a_stream_is_told(server: Served, monkeypatch: Any) -> None:  # noqa: F811
    def fail(*_: Any) -> Any:
        raise ResourceError("no memory")

    monkeypatch.setattr(server.model.scheduler._engine, "run", fail)
    assert "no memory" in lines(server, "/api/chat", {"messages": ASK})[-1]["error"]


# ---- text between two others ---------------------------------------------------------------------------------------


@pytest.fixture
def middle(server: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:  # noqa: F811
    """The model has tokens to fill in the middle."""
    ids = {"fim_pre": 261, "fim_suf": 262, "fim_mid": 263, "fim_sep": 264}
    for name, id in ids.items():
        monkeypatch.setitem(server.model.tokenizer.vocab.special, name, id)
    yield ids


def test_the_middle_is_filled_in(server: Served, says: Says, asked: list[Any], middle: dict[str, int]) -> None:  # noqa: F811
    says("the cat")
    body = {"input_prefix": "the", "prompt": " dog", "input_suffix": "house", "n_predict": 50}
    extra = [{"filename": "a.py", "text": "one two"}]
    status, got = server.ask("POST", "/infill", body | {"input_extra": extra})
    assert status == 200 and (got["content"], got["stop_type"]) == (" the cat", "eos")

    def encoded(text: str) -> list[int]:
        return list(server.model.tokenizer.encode(text, add_special=False))

    want = [1, 264, *encoded("a.py\none two"), 261, *encoded("the dog"), 262, *encoded("house"), 263]
    assert asked[0].prompt.ids == want
    _, _, data = server.raw("POST", "/infill", body | {"stream": True, "stop": "cat"})
    events = [json.loads(line.removeprefix("data: ")) for line in data.decode().split("\n\n") if line]
    assert "".join(event["content"] for event in events) == " the "
    assert events[-1]["stop"] and (events[-1]["stop_type"], events[-1]["stopping_word"]) == ("word", "cat")
    got = server.ask("POST", "/v1/completions", {"prompt": "the dog", "suffix": "house", "max_tokens": 50})[1]
    assert got["choices"][0]["text"] == " the cat" and asked[2].prompt.ids == [1, *want[want.index(261) :]]
    got = server.ask("POST", "/api/generate", {"prompt": "the dog", "suffix": "house", "stream": False})[1]
    assert got["response"] == " the cat" and asked[3].prompt.ids == asked[2].prompt.ids


def test_a_request_that_asks_nothing_loads_the_model(server: Served) -> None:  # noqa: F811
    nothing: Any = {"/api/chat": {"message": {"role": "assistant", "content": ""}}, "/api/generate": {"response": ""}}
    for path, empty in nothing.items():
        status, got = server.ask("POST", path, {"model": "tiny", "keep_alive": "5m"})
        assert status == 200 and got.pop("created_at")
        assert got == {"model": "tiny", "done": True, "done_reason": "load", **empty}


def test_seed_minus_one_is_any_seed(server: Served, asked: list[Any]) -> None:  # noqa: F811
    body = {"messages": ASK, "options": {"seed": -1, "num_predict": 1}, "stream": False}
    assert server.ask("POST", "/api/chat", body)[0] == 200 and asked[0].sampler.params.seed is None
