"""Answers with a form, in every protocol: schemas, grammars, and calls that are forced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import pydantic
import pytest
from served import Served, client, server, tiny  # noqa: F401  fixtures

from llmlocal.serving.forms import Form

if TYPE_CHECKING:
    import anthropic
    import openai

ASK: Any = [{"role": "user", "content": "the dog and the cat"}]
SCHEMA: Any = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}, "count": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["colour", "count"],
    "additionalProperties": False,
}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "paint", "schema": SCHEMA, "strict": True}}
TOOLS: Any = [
    {"type": "function", "function": {"name": "paint", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "wait", "parameters": {"type": "object", "properties": {}}}},
]
TOP = [tool["function"] | {"type": "function", "strict": True} for tool in TOOLS]
CLAUDE = [{"name": t["function"]["name"], "input_schema": t["function"]["parameters"]} for t in TOOLS]
SHORT: Any = {"model": "tiny", "max_tokens": 120, "seed": 5, "reasoning_effort": "none"}


class Paint(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    colour: Literal["red", "green"]
    count: Literal[1, 2, 3]


@pytest.fixture(scope="module")
def claude(server: Served) -> Iterator[anthropic.Anthropic]:  # noqa: F811
    import anthropic

    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=60) as made:
        yield made


def is_paint(text: str) -> bool:
    value = json.loads(text)
    return list(value) == ["colour", "count"] and value["colour"] in ("red", "green") and 1 <= value["count"] <= 9


def test_a_form_is_made_once_for_all_prompts(server: Served, monkeypatch: Any) -> None:  # noqa: F811
    """It may take a second."""
    made: list[Form] = []
    make = Form.grammar
    monkeypatch.setattr(Form, "grammar", lambda form, tokenizer: made.append(form) or make(form, tokenizer))
    body = {"prompt": ["the dog", "a cat"], "n": 2, "max_tokens": 9, "grammar": 'root ::= "a"{5,5}'}
    choices = server.ask("POST", "/v1/completions", body)[1]["choices"]
    assert [choice["text"] for choice in choices] == ["aaaaa"] * 4 and len(made) == 1


def test_a_chat_has_the_form_of_a_schema(client: openai.OpenAI) -> None:  # noqa: F811
    got = client.chat.completions.create(messages=ASK, response_format=FORMAT, n=2, **SHORT)
    assert all(is_paint(str(choice.message.content)) and choice.finish_reason == "stop" for choice in got.choices)
    chunks = client.chat.completions.create(messages=ASK, response_format=FORMAT, stream=True, **SHORT)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == got.choices[0].message.content
    parsed = client.chat.completions.parse(messages=ASK, response_format=Paint, **SHORT)
    assert isinstance(parsed.choices[0].message.parsed, Paint)
    cut = client.chat.completions.create(messages=ASK, response_format=FORMAT, **SHORT | {"max_tokens": 3})
    assert cut.choices[0].finish_reason == "length"


def test_any_object_and_the_fields_of_llama_cpp(client: openai.OpenAI, server: Served) -> None:  # noqa: F811
    biased = {"logit_bias": {str(server.model.tokenizer.encode("}", add_special=False)[-1]): 100}}
    got = client.chat.completions.create(messages=ASK, response_format={"type": "json_object"}, **SHORT | biased)
    assert json.loads(str(got.choices[0].message.content)) == {}
    body = {"prompt": "the dog", "max_tokens": 60}
    status, plain = server.ask("POST", "/v1/completions", body | {"json_schema": SCHEMA})
    assert status == 200 and is_paint(plain["choices"][0]["text"])
    status, plain = server.ask("POST", "/v1/completions", body | {"grammar": 'root ::= "a" [bc] "d"'})
    assert status == 200 and plain["choices"][0]["text"].strip() in ("abd", "acd")


def test_thoughts_are_free(server: Served) -> None:  # noqa: F811
    """The form begins after the thought, which the template lets the model open."""
    body = {"messages": ASK, "response_format": FORMAT, "max_tokens": 200, "think_budget": 5, "seed": 1}
    id = server.model.tokenizer.encode("<think>", add_special=False)
    message = server.ask("POST", "/v1/chat/completions", body | {"logit_bias": {str(id[0]): 100}})[1]["choices"][0]
    assert is_paint(message["message"]["content"])


def test_a_call_is_forced(client: openai.OpenAI) -> None:  # noqa: F811
    named: Any = {"type": "function", "function": {"name": "paint"}}
    got = client.chat.completions.create(messages=ASK, tools=TOOLS, tool_choice=named, **SHORT).choices[0]
    (call,) = got.message.tool_calls or ()
    assert call.type == "function" and call.function.name == "paint" and is_paint(call.function.arguments)
    assert got.finish_reason == "tool_calls" and got.message.content is None
    stream = client.chat.completions.create(messages=ASK, tools=TOOLS, tool_choice=named, stream=True, **SHORT)
    deltas = [chunk.choices[0].delta for chunk in stream]
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    assert [c.function.arguments for c in calls if c.function] == [call.function.arguments]
    either = client.chat.completions.create(messages=ASK, tools=TOOLS[:1], tool_choice="required", **SHORT).choices[0]
    assert [c.function.name for c in either.message.tool_calls or () if c.type == "function"] == ["paint"]
    cut = client.chat.completions.create(messages=ASK, tools=TOOLS, tool_choice=named, **SHORT | {"max_tokens": 4})
    assert cut.choices[0].finish_reason == "length" and not cut.choices[0].message.tool_calls
    assert "<tool_call>".startswith(str(cut.choices[0].message.content)[:4])


def test_responses(client: openai.OpenAI) -> None:  # noqa: F811
    given: Any = {"model": "tiny", "input": "the dog", "reasoning": {"effort": "none"}, "max_output_tokens": 120}
    text: Any = {"format": {"type": "json_schema", "name": "paint", "schema": SCHEMA, "strict": True}}
    assert is_paint(client.responses.create(text=text, **given).output_text)
    assert isinstance(client.responses.parse(text_format=Paint, **given).output_parsed, Paint)
    choice: Any = {"type": "function", "name": "paint"}
    for more in ({}, {"text": text}):  # as the package `instructor` sends both
        (item,) = client.responses.create(tools=TOP, tool_choice=choice, **more, **given).output
        assert item.type == "function_call" and is_paint(item.arguments)


def test_messages(claude: anthropic.Anthropic) -> None:
    given: Any = {"model": "tiny", "messages": ASK, "max_tokens": 120, "thinking": {"type": "disabled"}}
    form: Any = {"format": {"type": "json_schema", "schema": SCHEMA}}
    got = claude.messages.create(output_config=form, **given)
    assert got.content[0].type == "text" and is_paint(got.content[0].text)
    for choice in ({"type": "tool", "name": "paint"}, {"type": "any"}):
        tools: Any = CLAUDE[:1] if choice == {"type": "any"} else CLAUDE
        with claude.messages.stream(tools=tools, tool_choice=choice, **given) as stream:
            final = stream.get_final_message()
        assert final.content[0].type == "tool_use" and final.stop_reason == "tool_use"
        assert is_paint(json.dumps(final.content[0].input))


def test_ollama(server: Served) -> None:  # noqa: F811
    body: Any = {"messages": ASK, "think": False, "stream": False, "format": SCHEMA}
    assert is_paint(server.ask("POST", "/api/chat", body)[1]["message"]["content"])
    made = server.ask("POST", "/api/generate", {"prompt": "x", "raw": True, "stream": False, "format": SCHEMA})[1]
    assert is_paint(made["response"])
    limited = body | {"format": "json", "options": {"num_predict": 2}}
    assert server.ask("POST", "/api/chat", limited)[1]["message"]["content"].startswith("{")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a type": ({"response_format": {"type": "xml"}}, "response_format.type"),
    "no schema": ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    "no schema in it": ({"response_format": {"type": "json_schema", "json_schema": {}}}, ".schema"),
    "a keyword": ({"json_schema": {"type": "array", "uniqueItems": True}}, "uniqueItems"),
    "no value": ({"json_schema": {"type": "string", "minLength": 3, "maxLength": 2}}, "json_schema"),
    "a grammar": ({"grammar": "root ::= ("}, "grammar"),
    "two forms": ({"grammar": 'root ::= "a"', "json_schema": SCHEMA}, "cannot be combined"),
    "a form and a call": ({"tools": TOOLS, "tool_choice": "required", "json_schema": SCHEMA}, "cannot be combined"),
    "a large schema": ({"json_schema": {"enum": ["x" * 1000] * 70}}, "can be followed"),
    "large parameters": (
        {
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": {"properties": {"x" * 70_000: {}}}}},
            ],
            "tool_choice": "required",
        },
        "can be followed",
    ),
    "a large grammar": ({"grammar": 'root ::= "' + "a" * 70_000 + '"'}, "grammar"),
    "a call of nothing": ({"tool_choice": "required"}, "tool_choice"),
    "another function": ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}}, "'f'"),
    "a choice": ({"tools": TOOLS, "tool_choice": "perhaps"}, "tool_choice"),
    "strict": (
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"not": {}}}}]},
        "'not'",
    ),
    "parameters": (
        {
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"not": {}}}}],
            "tool_choice": "required",
        },
        "'not'",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_followed_is_refused(server: Served, name: str) -> None:  # noqa: F811
    given, words = WRONG[name]
    status, got = server.ask("POST", "/v1/chat/completions", {"messages": ASK, **given})
    assert status == 400 and words in got["error"]["message"] and got["error"]["param"], got
