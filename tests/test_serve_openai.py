"""OpenAI's protocol, with its official client: answers, streams, errors, cancelling."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from served import PARALLEL, PATIENCE, Served, client, fails, prompts, running, says, server, tiny  # noqa: F401  fixtures

from llmlocal.chat_format.chat_template import choose
from llmlocal.chat_format.prompt import conversation
from llmlocal.errors import UsageError
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.quant.kernels.matmul import TILED_TOKENS
from llmlocal.serving.openai.vectors import _encoded

if TYPE_CHECKING:
    import openai

Says = Callable[..., None]
ASK: Any = [{"role": "user", "content": "the dog and the cat"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
F = {"type": "function", "function": {"name": "f"}}


def chat(client: openai.OpenAI, **more: Any) -> Any:  # noqa: F811
    return client.chat.completions.create(**{"model": "tiny", "messages": ASK, "max_tokens": 12, "seed": 3} | more)


def streamed(chunks: Any, kind: str = "content") -> str:
    return "".join(getattr(c.choices[0].delta, kind, None) or "" for c in chunks if c.choices)


# ---- chat ----------------------------------------------------------------------------------------------------------


def test_an_answer_is_what_a_session_says(client: openai.OpenAI, tiny: Any) -> None:  # noqa: F811
    got = chat(client)
    with Session.open(tiny, n_ctx=512) as session:
        template = choose(session.gguf.metadata, session.tokenizer)
        assert template is not None
        prompt = conversation(ASK, template, session.tokenizer)
        events = [*session.answer(prompt, max_tokens=12, sampling=SamplingParams(seed=3))]
    assert got.choices[0].message.content == "".join(e.text for e in events[:-1])  # type: ignore[union-attr]
    assert got.choices[0].finish_reason == "length" and got.object == "chat.completion" and got.model == "tiny"
    usage = got.usage
    assert (usage.completion_tokens, usage.prompt_tokens) == (12, len(prompt.ids)) and usage.total_tokens > 12


def test_what_was_read_before_is_counted(client: openai.OpenAI) -> None:  # noqa: F811
    long: Any = [{"role": "user", "content": "the boy and the girl " * 12}]
    first, again = (chat(client, messages=long, max_tokens=1).usage for _ in range(2))
    assert first.prompt_tokens_details.cached_tokens == 0
    assert again.prompt_tokens_details.cached_tokens == first.prompt_tokens - TILED_TOKENS


def test_prompts_are_kept_on_disk(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """A server that is started anew does not read them again; what is wrong with the folder is told at the end."""
    monkeypatch.setattr("llmlocal.generation.prompt_cache.folder", lambda: tmp_path / "prompts")
    body = {"messages": [{"role": "user", "content": "the boy and the girl " * 30}], "max_tokens": 6, "seed": 1}
    found = []
    for _ in range(2):
        with running({"tiny": tiny}, prompt_cache=True) as served:
            found.append(served.ask("POST", "/v1/chat/completions", body)[1])
    texts = [got["choices"][0]["message"]["content"] for got in found]
    cached = [got["usage"]["prompt_tokens_details"]["cached_tokens"] for got in found]
    assert (
        texts[0] == texts[1]
        and cached == [0, found[0]["usage"]["prompt_tokens"] - TILED_TOKENS]
        and served.pool.notes == []
    )
    (entry,) = (tmp_path / "prompts").iterdir()
    entry.write_bytes(entry.read_bytes()[:-1] + b"x")
    with running({"tiny": tiny}, prompt_cache=True) as served:
        assert served.ask("POST", "/v1/chat/completions", body)[1]["choices"][0]["message"]["content"] == texts[0]
    assert "damaged" in served.pool.notes[0]


def test_a_stream_says_the_same_in_pieces(client: openai.OpenAI) -> None:  # noqa: F811
    whole = chat(client)
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert streamed(chunks) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 12
    assert len({chunk.id for chunk in chunks}) == 1 and chunks[0].object == "chat.completion.chunk"


def test_the_model_may_be_left_to_the_server(server: Served) -> None:  # noqa: F811
    body = {"messages": ASK, "max_tokens": 1, "user": "me", "metadata": {"a": "b"}, "store": False}
    status, got = server.ask("POST", "/v1/chat/completions", body)
    assert status == 200 and got["model"] == "tiny"


def test_several_answers_have_seeds_that_follow(client: openai.OpenAI) -> None:  # noqa: F811
    many = chat(client, n=3)
    assert [choice.index for choice in many.choices] == [0, 1, 2]
    texts = [choice.message.content for choice in many.choices]
    assert texts == [chat(client, seed=3 + i).choices[0].message.content for i in range(3)]
    assert many.usage.completion_tokens == 36
    found: dict[int, str] = {0: "", 1: "", 2: ""}
    for chunk in chat(client, n=3, stream=True):
        found[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert [*found.values()] == texts


def test_stop_strings_end_an_answer(client: openai.OpenAI, says: Says) -> None:  # noqa: F811
    says("one two three four")
    got = chat(client, stop=["three", "nothing"])
    assert got.choices[0].message.content == "one two " and got.choices[0].finish_reason == "stop"
    assert streamed(chat(client, stop="two", stream=True)) == "one "


def test_recommended_sampling_holds_where_a_client_says_nothing(tiny: Path, monkeypatch: Any) -> None:  # noqa: F811
    recommended = {"temperature": 0.125, "top_k": 5}
    monkeypatch.setattr("llmlocal.serving.text_model.recommended_sampling", lambda _: recommended)
    asked: list[Any] = []
    with running({"tiny": tiny}) as served:
        scheduler = served.model.scheduler
        submit = scheduler.submit
        monkeypatch.setattr(scheduler, "submit", lambda r, d: asked.append(r.sampler.params) or submit(r, d))
        served.ask("POST", "/v1/chat/completions", {"messages": ASK, "max_tokens": 1, "top_k": 9})
    assert (asked[0].temperature, asked[0].top_k) == (0.125, 9)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_limits(client: openai.OpenAI, name: str) -> None:  # noqa: F811
    got = chat(client, **{"max_tokens": None, name: 3})
    assert got.usage.completion_tokens == 3


def test_a_bias_forbids_or_forces_a_token(client: openai.OpenAI, server: Served) -> None:  # noqa: F811
    id = server.model.tokenizer.encode("dog", add_special=False)[0]
    got = chat(client, max_tokens=3, logit_bias={str(id): 100}, temperature=0)
    assert got.choices[0].message.content.split() == ["dog"] * 3


def test_log_probabilities(client: openai.OpenAI) -> None:  # noqa: F811
    got = chat(client, max_tokens=3, logprobs=True, top_logprobs=2, temperature=0)
    entries = got.choices[0].logprobs.content
    assert len(entries) == 3
    for entry in entries:
        assert len(entry.top_logprobs) == 2 and entry.logprob == entry.top_logprobs[0].logprob <= 0
        assert bytes(entry.bytes).decode() == entry.token
    chunks = list(chat(client, max_tokens=3, logprobs=True, temperature=0, stream=True))
    scored = [e for c in chunks if c.choices and c.choices[0].logprobs for e in c.choices[0].logprobs.content]
    assert [e.logprob for e in scored] == [e.logprob for e in entries]


def test_thoughts_are_apart_from_the_answer(client: openai.OpenAI, says: Says) -> None:  # noqa: F811
    says("<think>let me see</think>it is blue")
    message = chat(client, max_tokens=50).choices[0].message
    assert (message.content, message.reasoning_content) == ("it is blue", "let me see")
    chunks = list(chat(client, max_tokens=50, stream=True))
    assert (streamed(chunks), streamed(chunks, "reasoning_content")) == ("it is blue", "let me see")
    assert chat(client, max_tokens=50).usage.completion_tokens_details.reasoning_tokens > 3


def test_reasoning_effort_none_closes_the_thought(client: openai.OpenAI, prompts: list[str]) -> None:  # noqa: F811
    chat(client, reasoning_effort="none", max_tokens=1)
    chat(client, extra_body={"chat_template_kwargs": {"enable_thinking": False}}, max_tokens=1)
    chat(client, reasoning_effort="low", max_tokens=1)
    assert [text.endswith("<think></think>") for text in prompts] == [True, True, False]


def test_a_refusal_goes_back(client: openai.OpenAI, prompts: list[str]) -> None:  # noqa: F811
    chat(client, messages=[*ASK, {"role": "assistant", "content": [{"type": "refusal", "refusal": "never"}]}, *ASK])
    assert "assistant: never" in prompts[0]


# ---- texts to be continued, tokens, models ------------------------------------------------------------------------


def test_completions(client: openai.OpenAI, server: Served) -> None:  # noqa: F811
    given: Any = {"model": "tiny", "max_tokens": 5, "seed": 1}
    got = client.completions.create(prompt="Once upon a time", **given)
    assert got.choices[0].text and got.choices[0].finish_reason == "length" and got.usage.completion_tokens == 5
    chunks = list(client.completions.create(prompt="Once upon a time", stream=True, **given))
    assert "".join(c.choices[0].text for c in chunks) == got.choices[0].text
    ids = server.model.tokenizer.encode("Once upon a time")
    assert client.completions.create(prompt=ids, **given).choices[0].text == got.choices[0].text
    many = client.completions.create(prompt=["Once upon a time", "the dog"], n=2, **given)
    assert [c.index for c in many.choices] == [0, 1, 2, 3] and many.choices[0].text == got.choices[0].text
    assert client.completions.create(prompt="the dog", echo=True, **given).choices[0].text.startswith("the dog")
    assert client.completions.create(model="tiny", prompt="the dog", seed=1).usage.completion_tokens == 16
    scored = client.completions.create(prompt="the dog", logprobs=2, **given).choices[0].logprobs
    assert len(scored.tokens) == len(scored.token_logprobs) == 5 and len(scored.top_logprobs[0]) == 2
    assert scored.text_offset[1] == len(scored.tokens[0])


def test_tokens_and_back(server: Served) -> None:  # noqa: F811
    text = "the dog said hello"
    tokens = server.ask("POST", "/tokenize", {"content": text})[1]["tokens"]
    assert tokens == server.model.tokenizer.encode(text, add_special=False)
    assert server.ask("POST", "/detokenize", {"tokens": tokens}) == (200, {"content": text})
    pieces = server.ask("POST", "/tokenize", {"content": text, "with_pieces": True, "add_special": True})[1]["tokens"]
    assert [piece["id"] for piece in pieces] == [1, *tokens]
    assert server.ask("POST", "/detokenize", {"tokens": [10**6]})[0] == 400
    long = server.ask("POST", "/tokenize", {"content": "a" * (1 << 20) + "b"})
    assert long[0] == 400 and "1048576 characters at most" in long[1]["error"]["message"]


def test_models(client: openai.OpenAI) -> None:  # noqa: F811
    import openai

    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "llmlocal"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


# ---- errors and ends -----------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a field that nobody reads": ({"extra_body": {"foo": 1}}, "foo"),
    "no messages": ({"messages": []}, "messages"),
    "a picture": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}
            ]
        },
        "messages[0].content[0].type",
    ),
    "a role": ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
    "a field of a message": ({"messages": [{"role": "user", "content": "x", "foo": 1}]}, "messages[0].foo"),
    "temperature": ({"temperature": -1}, "temperature"),
    "a number without end": ({"temperature": 10**400}, "temperature"),
    "half a token": ({"extra_body": {"dry_multiplier": 1, "dry_last_n": 1.5}}, "dry_last_n"),
    "top_p": ({"top_p": 2}, "top_p"),
    "n": ({"n": 0}, "n"),
    "stop": ({"stop": [""]}, "stop"),
    "a long stop": ({"stop": "x" * 2000}, "stop"),
    "bias": ({"logit_bias": {"999999": 1}}, "logit_bias"),
    "logprobs": ({"top_logprobs": 3}, "top_logprobs"),
    "a format": ({"response_format": {"type": "xml"}}, "response_format.type"),
    "strict": (
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"not": {}}}}]},
        "tools",
    ),
    "old functions": ({"extra_body": {"functions": [{"name": "f"}]}}, "functions"),
    "sound": ({"modalities": ["audio"]}, "modalities"),
    "arguments": (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "["}}]}]},
        "messages[0].tool_calls[0].function.arguments",
    ),
    "max_tokens": ({"max_tokens": -2}, "max_tokens"),
    "a function that is not there": (
        {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [F]}}},
        "tool_choice",
    ),
    "too long": ({"messages": [{"role": "user", "content": "the dog " * 400}]}, "messages"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(client: openai.OpenAI, name: str) -> None:  # noqa: F811
    import openai

    given, param = WRONG[name]
    with pytest.raises(openai.BadRequestError) as refusal:
        chat(client, **given)
    assert refusal.value.param == param and refusal.value.type == "invalid_request_error"


def test_a_model_that_is_not_there(client: openai.OpenAI) -> None:  # noqa: F811
    import openai

    with pytest.raises(openai.NotFoundError, match="there are: tiny"):
        chat(client, model="gpt-4")


def test_a_stream_that_is_left_stops_the_model(client: openai.OpenAI, server: Served) -> None:  # noqa: F811
    before = server.model.scheduler.counts.generated_tokens
    with chat(client, max_tokens=450, stream=True, logit_bias={"2": -100}) as stream:
        next(stream)
    server.quiet()
    assert server.model.scheduler.counts.generated_tokens - before < 400


def test_too_many_requests(client: openai.OpenAI, server: Served, monkeypatch: Any) -> None:  # noqa: F811
    import openai

    scheduler, gate = server.model.scheduler, threading.Event()
    run = scheduler._engine.run
    monkeypatch.setattr(scheduler, "_limit", 1 - PARALLEL)  # there is room for one, which waits at the gate
    monkeypatch.setattr(scheduler._engine, "run", lambda *given: run(*given) if gate.wait(PATIENCE) else None)
    first = threading.Thread(target=chat, args=(client,))
    first.start()
    while not scheduler.busy:
        sleep(0.002)
    with pytest.raises(openai.RateLimitError) as refusal:
        chat(client)
    assert refusal.value.response.headers["retry-after"] == "1"
    gate.set()
    first.join(PATIENCE)


def test_a_failure_within_a_stream_is_told(client: openai.OpenAI, server: Served, monkeypatch: Any) -> None:  # noqa: F811
    import openai

    def fail(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(server.model.scheduler._engine, "run", fail)
    with pytest.raises(openai.APIError, match="the server failed to answer"):
        list(chat(client, stream=True))
    with pytest.raises(openai.InternalServerError, match="the server failed to answer"):
        chat(client)
    assert "MemoryError" in str(server.failures[-1])


def test_a_fault_of_the_client_is_told_to_nobody_else(client: openai.OpenAI, server: Served, monkeypatch: Any) -> None:  # noqa: F811
    import openai

    monkeypatch.setattr(server.model.scheduler._engine, "run", fails(UsageError("no such bias")))
    before = len(server.failures)
    with pytest.raises(openai.APIError, match="no such bias"):
        list(chat(client, stream=True))
    with pytest.raises(openai.BadRequestError, match="no such bias"):
        chat(client)
    assert len(server.failures) == before


def test_clients_at_once_get_their_own_answers(client: openai.OpenAI) -> None:  # noqa: F811
    def ask(i: int) -> str:
        messages = [{"role": "user", "content": f"the dog {i} " * (i + 1)}]
        if i % 2:
            return streamed(chat(client, messages=messages, seed=i, stream=True))
        return str(chat(client, messages=messages, seed=i).choices[0].message.content)

    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(ask, range(8)))
    assert together == [ask(i) for i in range(8)]
    assert len(set(together)) == 8


def test_base64_is_of_little_endian_floats() -> None:
    row = np.array([1.5, -2.0], np.float32)
    assert np.frombuffer(base64.b64decode(_encoded(row, False)), "<f4").tolist() == _encoded(row, True) == [1.5, -2.0]
