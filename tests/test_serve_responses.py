"""OpenAI's responses, with its official client: items in and out, streams, functions, thoughts, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from served import Served, client, prompts, says, server, tiny  # noqa: F401  fixtures

if TYPE_CHECKING:
    import openai

Says = Callable[..., None]
ASK = "the dog and the cat"
TOOL: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'


def create(client: openai.OpenAI, **more: Any) -> Any:  # noqa: F811
    return client.responses.create(**{"model": "tiny", "input": ASK} | more)


def test_an_answer(client: openai.OpenAI, says: Says, prompts: list[str]) -> None:  # noqa: F811
    says("it is blue")
    got = create(client, instructions="be short", metadata={"a": "b"}, store=False)
    assert (got.output_text, got.status, got.object, got.error) == ("it is blue", "completed", "response", None)
    assert got.usage.total_tokens == got.usage.input_tokens + got.usage.output_tokens > 5
    assert prompts == ["system: be shortuser: the dog and the catassistant:"] and got.metadata == {"a": "b"}
    assert got.instructions == "be short" and got.id.startswith("resp_")


def test_a_stream_says_the_same(client: openai.OpenAI, says: Says) -> None:  # noqa: F811
    says(f"<think>let me see</think>\n\nLet me look. {CALL}")
    whole = create(client, tools=[TOOL])
    assert [item.type for item in whole.output] == ["reasoning", "message", "function_call"]
    with client.responses.stream(model="tiny", input=ASK, tools=[TOOL]) as stream:
        events: list[Any] = list(stream)
        final = stream.get_final_response()
    ids = {"id", "call_id", "parsed_arguments", "parsed"}

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if k not in ids and v is not None}
        return [plain(item) for item in value] if isinstance(value, list) else value

    assert plain(final.model_dump()["output"]) == plain(whole.model_dump()["output"])
    call = whole.output[-1]
    assert (call.name, call.arguments) == ("weather", '{"city": "Oslo"}') and call.call_id != call.id
    assert whole.output[0].content[0].text == "let me see" and whole.output_text.strip() == "Let me look."
    assert whole.usage.output_tokens_details.reasoning_tokens > 3

    def said(kind: str) -> str:
        return "".join(event.delta for event in events if event.type == kind)

    assert said("response.output_text.delta") == whole.output_text
    assert said("response.reasoning_text.delta") == "let me see"
    assert said("response.function_call_arguments.delta") == '{"city": "Oslo"}'
    kinds = [event.type for event in events]
    assert kinds[:3] == ["response.created", "response.in_progress", "response.output_item.added"]
    assert kinds[-1] == "response.completed" and kinds.count("response.output_item.done") == 3
    raw = [event.sequence_number for event in create(client, tools=[TOOL], stream=True)]
    assert raw == list(range(len(raw)))


def test_items_go_back(client: openai.OpenAI, says: Says, prompts: list[str]) -> None:  # noqa: F811
    says(f"<think>hm</think>Let me look. {CALL}")
    first = create(client, tools=[TOOL])
    result = {"type": "function_call_output", "call_id": first.output[-1].call_id, "output": "rain"}
    question = {"role": "user", "content": [{"type": "input_text", "text": "and then?"}]}
    says("It rains.")
    items = [{"role": "user", "content": ASK}, *first.output, result, question]
    assert create(client, input=items, tools=[TOOL]).output_text == "It rains."
    want = f"user: {ASK}assistant: Let me look. {CALL}tool: rainuser: and then?assistant:"
    assert prompts[1].endswith(want)


def test_ends(client: openai.OpenAI, says: Says) -> None:  # noqa: F811
    says("one two three four")
    got = create(client, max_output_tokens=2)
    assert got.status == "incomplete" and got.incomplete_details.reason == "max_output_tokens"
    assert [*create(client, max_output_tokens=2, stream=True)][-1].type == "response.incomplete"


def test_effort_none_closes_the_thought(client: openai.OpenAI, prompts: list[str]) -> None:  # noqa: F811
    for effort in ("none", "low"):
        create(client, reasoning={"effort": effort, "summary": "auto"}, max_output_tokens=1)
    assert [text.endswith("<think></think>") for text in prompts] == [True, False]


def test_one_call_at_most(client: openai.OpenAI, says: Says) -> None:  # noqa: F811
    says(CALL + CALL)
    assert len(create(client, tools=[TOOL]).output) == 2
    assert len(create(client, tools=[TOOL], parallel_tool_calls=False).output) == 1
    assert create(client, tools=[TOOL], tool_choice="none").output_text == CALL + CALL


def test_calls_of_some_functions(client: openai.OpenAI, says: Says, prompts: list[str]) -> None:  # noqa: F811
    says(CALL)
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]}
    got = create(client, tools=[TOOL, TOOL | {"name": "other"}], tool_choice=allowed)
    assert got.output[-1].name == "weather" and "other" not in prompts[0]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a field that nobody reads": ({"extra_body": {"foo": 1}}, "foo"),
    "nothing": ({"input": []}, "input"),
    "an answer that is not stored": ({"previous_response_id": "resp_1"}, "previous_response_id"),
    "a conversation": ({"conversation": "conv_1"}, "conversation"),
    "background": ({"background": True}, "background"),
    "truncation": ({"truncation": "auto"}, "truncation"),
    "a format": ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    "a call of nothing": ({"tool_choice": "required"}, "tool_choice"),
    "strict": ({"tools": [TOOL | {"strict": True, "parameters": {"not": {}}}]}, "tools"),
    "a tool of OpenAI": ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    "include": ({"include": ["file_search_call.results"]}, "include"),
    "an item": ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
    "a picture": (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "file:///x"}]}]},
        "input[0].content[0].type",
    ),
    "arguments": (
        {"input": [{"type": "function_call", "name": "f", "call_id": "c", "arguments": "["}]},
        "input[0].arguments",
    ),
    "too long": ({"input": "the dog " * 400}, "messages"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(client: openai.OpenAI, name: str) -> None:  # noqa: F811
    import openai

    given, param = WRONG[name]
    with pytest.raises(openai.BadRequestError) as refusal:
        create(client, **given)
    assert refusal.value.param == param


def test_a_failure_within_a_stream_is_told(client: openai.OpenAI, server: Served, monkeypatch: Any) -> None:  # noqa: F811
    def fail(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(server.model.scheduler._engine, "run", fail)
    last: Any = [*create(client, stream=True)][-1]
    assert last.type == "error" and "the server failed to answer" in last.message
