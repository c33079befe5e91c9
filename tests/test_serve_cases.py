"""What llama.cpp's server is tested for, as far as other files of ours do not have it; docs/serve.md has the table."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from served import Served, server, tiny  # noqa: F401  fixtures

from llmlocal.generation.log_probabilities import ScoredToken
from llmlocal.scheduler.request import Request
from llmlocal.serving.openai.logprobs import CompletionLogprobs

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
ASK: Any = [{"role": "system", "content": "be short"}, {"role": "user", "content": "the dog and the cat"}]
SHORT: Any = {"messages": ASK, "max_tokens": 80, "reasoning_effort": "none"}


def said(server: Served, body: Any, path: str = CHAT) -> Any:  # noqa: F811
    """The first choice of an answer."""
    status, got = server.ask("POST", path, body)
    assert status == 200, got
    return got["choices"][0]


@pytest.mark.parametrize(
    "messages",
    [None, "string", [123], [{}], [{"role": 123}], [{"role": "system", "content": 123}], [*ASK, {}]],
)
def test_messages_that_are_none(server: Served, messages: Any) -> None:  # noqa: F811
    status, got = server.ask("POST", CHAT, {"messages": messages})
    assert status == 400 and got["error"]["param"].startswith("messages")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("max_token", "max_tokens"), ("temprature", "temperature"), ("volume", ""), ("function", ""), ("x" * 5000, "")],
)
def test_a_misspelt_field(server: Served, name: str, meant: str) -> None:  # noqa: F811
    status, got = server.ask("POST", CHAT, SHORT | {name: 1})
    hint = f"; did you mean {meant}?" if meant else ""
    assert status == 400 and got["error"]["message"] == f"{name[:100]}: this field is not supported{hint}"


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"type": "json_object", "schema": {"const": "42"}}, '"42"'),
        ({"type": "json_schema", "json_schema": {"schema": {"const": "foooooo"}}}, '"foooooo"'),
        ({"type": "json_schema", "json_schema": {"schema": {"enum": [True]}}}, "true"),
        ({"type": "sound"}, None),
        ({"type": "json_object", "schema": 123}, None),
        ({"type": "json_object", "schema": {"type": 123}}, None),
        ({"type": "json_object", "schema": {"type": "hiccup"}}, None),
        ({"type": "json_object", "schema": {"$ref": "file:///etc/passwd"}}, None),
        ({"type": "json_object", "schema": {"$ref": "http://127.0.0.1:1/schema"}}, None),
    ],
)
def test_formats(server: Served, form: Any, text: str | None) -> None:  # noqa: F811
    status, got = server.ask("POST", CHAT, SHORT | {"response_format": form})
    if text is None:
        assert status == 400 and got["error"]["param"].startswith("response_format")
    else:
        assert status == 200 and got["choices"][0]["message"]["content"].strip() == text


def test_a_grammar_with_a_count(server: Served) -> None:  # noqa: F811
    assert said(server, SHORT | {"grammar": 'root ::= "a"{5,5}'})["message"]["content"].strip() == "aaaaa"


def test_tokens_of_log_probabilities_make_the_text(server: Served) -> None:  # noqa: F811
    choice = said(server, SHORT | {"logprobs": True, "top_logprobs": 10, "temperature": 0, "max_tokens": 8})
    entries = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries).strip() == choice["message"]["content"].strip()
    assert all(len(entry["top_logprobs"]) == 10 and entry["logprob"] <= 0 for entry in entries)


def test_a_bias_excludes_words(server: Served) -> None:  # noqa: F811
    words = server.ask("POST", "/tokenize", {"content": "the dog and a cat"})[1]["tokens"]
    excluded = {str(id): -100 for id in words}
    ids = server.ask("POST", "/tokenize", {"content": said(server, SHORT)["message"]["content"]})[1]["tokens"]
    assert ids
    choice = said(server, SHORT | {"logit_bias": excluded, "logprobs": True, "max_tokens": 30})
    pieces = {server.model.tokenizer.piece(id).decode() for id in words}
    assert not pieces & {entry["token"] for entry in choice["logprobs"]["content"]}


def test_a_stream_names_the_role_once(server: Served) -> None:  # noqa: F811
    _, _, data = server.raw("POST", CHAT, SHORT | {"stream": True, "max_tokens": 4})
    assert data.count(b'"role"') == 1 and data.rstrip().endswith(b"data: [DONE]")


def test_every_sampler_of_run_may_be_asked_for(server: Served) -> None:  # noqa: F811
    """With whole numbers where tokens are counted, in OpenAI's protocol and in Ollama's."""
    samplers = {"mirostat": 2, "mirostat_tau": 4, "dry_multiplier": 1, "dry_last_n": 8, "dry_allowed_length": 1}
    samplers |= {"top_n_sigma": 2, "xtc_probability": 0.5, "dynatemp_range": 0.5, "repeat_last_n": -1, "seed": 3}
    text = said(server, SHORT | samplers | {"max_tokens": 8})["message"]["content"]
    body = {"messages": ASK, "options": samplers | {"num_predict": 8}, "think": False, "stream": False}
    status, got = server.ask("POST", "/api/chat", body)
    assert status == 200, got
    assert got["message"]["content"] == text


def test_the_fields_of_llama_cpps_editors(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """What llama.vscode sends for an edit: other names, an order of samplers, and no limit."""
    asked: list[Request] = []
    submit = server.model.scheduler.submit
    monkeypatch.setattr(server.model.scheduler, "submit", lambda r, d: asked.append(r) or submit(r, d))
    names = {"dry_penalty_last_n": 9, "typ_p": 0.5, "samplers": "edkypmxt", "top_k": -1, "dry_multiplier": 1}
    hints = {"cache_prompt": True, "timings_per_token": False, "t_max_predict_ms": 1, "reasoning_format": "auto"}
    said(server, {"messages": ASK, "max_tokens": -1, "n_predict": 3, **names, **hints})
    (request,) = asked
    params = request.sampler.params
    assert request.max_tokens == 3 and (params.dry_last_n, params.typical_p, params.top_k) == (9, 0.5, 0)
    assert params.stages == ("top_k", "typical_p", "top_p", "min_p", "xtc", "temperature")
    some = {"samplers": ["top_k", "temperature"], "dry_multiplier": 1, "presence_penalty": 1}
    said(server, SHORT | some)
    params = asked[1].sampler.params
    assert params.stages == ("top_k", "temperature") and params.dry_multiplier == params.presence_penalty == 0
    assert server.ask("POST", "/v1/completions", {"prompt": "a", "max_tokens": -1, "stop": ["e"]})[0] == 200


@pytest.mark.parametrize(
    "given", [{"samplers": "kq"}, {"samplers": ["top_k", "top_k"]}, {"samplers": ["top_k", "dry"]}, {"samplers": [1]}]
)
def test_orders_that_are_none(server: Served, given: Any) -> None:  # noqa: F811
    status, got = server.ask("POST", CHAT, SHORT | given)
    assert status == 400 and got["error"]["param"] == "samplers"


def test_one_name_of_a_parameter(server: Served) -> None:  # noqa: F811
    status, got = server.ask("POST", CHAT, SHORT | {"dry_last_n": 1, "dry_penalty_last_n": 2})
    assert status == 400 and got["error"]["param"] == "dry_penalty_last_n"


@pytest.mark.parametrize("cached", [True, False])
def test_seeds(server: Served, cached: bool) -> None:  # noqa: F811
    """The same seed says the same, whether its prompt was read before or not; others do not."""
    body = {"prompt": "the meaning of life is " * 8, "max_tokens": 12, "temperature": 1.0}
    texts = []
    for seed in (0, 0, 1, 2):
        if not cached:
            server.quiet()
            server.model.scheduler._sequences.forget()
        texts.append(said(server, body | {"seed": seed}, TEXT)["text"])
    assert texts[0] == texts[1] and len({*texts}) == 3


def test_texts_and_tokens_may_be_mixed(server: Served) -> None:  # noqa: F811
    text = "the meaning of life is"
    ids = server.ask("POST", "/tokenize", {"content": text, "add_special": True})[1]["tokens"]
    body = {"prompt": [ids, text], "max_tokens": 6, "temperature": 0}
    choices = server.ask("POST", TEXT, body)[1]["choices"]
    assert choices[0]["text"] == choices[1]["text"]


@pytest.mark.parametrize(("requests", "at_once"), [(2, 2), (6, 6)])
def test_more_or_fewer_clients_than_sequences(server: Served, requests: int, at_once: int) -> None:  # noqa: F811
    bodies = [{"prompt": f"the dog {i} " * 3, "max_tokens": 10, "seed": 42, "temperature": 1} for i in range(requests)]
    with ThreadPoolExecutor(at_once) as threads:
        together = [*threads.map(lambda body: said(server, body, TEXT)["text"], bodies)]
    assert together == [said(server, body, TEXT)["text"] for body in bodies]


def test_a_prompt_that_is_too_long(server: Served) -> None:  # noqa: F811
    long = {"messages": [{"role": "user", "content": "the dog " * 700}]}
    for path, body in ((CHAT, long), (TEXT, {"prompt": "a " * 999})):
        status, got = server.ask("POST", path, body)
        assert status == 400 and got["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("extra", [{}, {"filename": "ok"}, {"filename": 123}, {"filename": 1, "text": "abc"}, 7])
def test_files_that_are_none(server: Served, extra: Any) -> None:  # noqa: F811
    body = {"input_extra": [extra], "input_prefix": "a", "input_suffix": "b"}
    status, got = server.ask("POST", "/infill", body)
    assert status == 400 and got["error"]["param"].startswith("input_extra[0]")


def test_the_template_is_applied(server: Served) -> None:  # noqa: F811
    status, got = server.ask("POST", "/apply-template", {"messages": ASK})
    assert status == 200 and got == {"prompt": "system: be shortuser: the dog and the catassistant:"}


def test_no_page_is_let_in_before_it_asks(server: Served) -> None:  # noqa: F811
    given = {"Origin": "http://web.example", "Access-Control-Request-Method": "POST"}
    status, headers, _ = server.raw("OPTIONS", CHAT, headers=given)
    assert status == 403 and not [name for name in headers if name.startswith("access-control")]
    assert server.raw("OPTIONS", CHAT)[0] == 405


def test_the_log_says_what_was_read_again(server: Served, monkeypatch: Any) -> None:  # noqa: F811
    take = server.model.scheduler._sequences.take
    monkeypatch.setattr(server.model.scheduler._sequences, "take", lambda ids: (*take(ids)[:2], 7))
    before = server.model.values()["read_again_tokens_total"]
    said(server, {"prompt": "the secret dog", "max_tokens": 1}, TEXT)
    assert server.told[-1].startswith("tiny: 7 tokens of a prompt were read again") and "secret" not in server.told[-1]
    assert server.model.values()["read_again_tokens_total"] == before + 7


def test_more_answers_than_are_ever_taken_are_refused(server: Served) -> None:  # noqa: F811
    """Status 429 would let the client try again without end."""
    status, got = server.ask("POST", TEXT, {"prompt": ["a"] * 6, "n": 2, "max_tokens": 1})
    assert status == 400 and "12 answers are asked for, and this server takes 11 at once" in got["error"]["message"]


def test_log_probabilities_of_parts_of_characters(server: Served) -> None:  # noqa: F811
    """They are told apart by their bytes, and offsets count the characters that are whole."""
    tokenizer = server.model.tokenizer
    ids = tokenizer.encode("a\U0001f600b", add_special=False)
    tokens = [ScoredToken(id, (), False, -1.0, ((id, -1.0),)) for id in ids]
    made = CompletionLogprobs(tokenizer)
    first, rest = made.entries(tokens[:3]), made.entries(tokens[3:])
    names, offsets = first["tokens"] + rest["tokens"], first["text_offset"] + rest["text_offset"]
    assert names[-5:] == ["bytes:\\xf0", "bytes:\\x9f", "bytes:\\x98", "bytes:\\x80", "b"]
    assert offsets[-1] == offsets[-5] + 1 and rest["top_logprobs"][-2] == {"bytes:\\x80": -1.0}
