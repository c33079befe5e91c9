"""Anthropic's protocol, with its official client: answers, streams, tools, thinking, errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from served import Served, fails, running, says, server, tiny  # noqa: F401  fixtures

from llmlocal.errors import ResourceError
from llmlocal.scheduler.request import QueueFullError

if TYPE_CHECKING:
    import anthropic

Says = Callable[..., None]
ASK: Any = [{"role": "user", "content": "the dog and the cat"}]
TOOL: Any = {
    "name": "weather",
    "description": "The weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "cache_control": {"type": "ephemeral"},
}
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[anthropic.Anthropic]:  # noqa: F811
    import anthropic

    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=60) as made:
        yield made


def create(client: anthropic.Anthropic, **more: Any) -> Any:
    return client.messages.create(**{"model": "tiny", "messages": ASK, "max_tokens": 200} | more)


def whole_stream(client: anthropic.Anthropic, **more: Any) -> tuple[list[Any], Any]:
    """The events of a stream, and the message that the client makes of them."""
    with client.messages.stream(**{"model": "tiny", "messages": ASK, "max_tokens": 200} | more) as stream:
        events = list(stream)
        return events, stream.get_final_message()


def test_an_answer(client: anthropic.Anthropic, says: Says) -> None:  # noqa: F811
    says("it is blue")
    got = create(client, system=[{"type": "text", "text": "be short", "cache_control": {"type": "ephemeral"}}])
    assert (got.type, got.role, got.model, got.stop_reason, got.stop_sequence) == (
        "message", "assistant", "tiny", "end_turn", None,
    )  # fmt: skip
    assert [block.model_dump(exclude_none=True) for block in got.content] == [{"type": "text", "text": "it is blue"}]
    usage = got.usage
    total = client.messages.count_tokens(model="tiny", messages=ASK, system="be short").input_tokens
    assert usage.input_tokens + usage.cache_read_input_tokens == total > 5 and usage.output_tokens > 1


def test_a_stream_says_the_same(client: anthropic.Anthropic, says: Says) -> None:  # noqa: F811
    says(f"<think>let me see</think>\n\nLet me look. {CALL}")
    whole = create(client, tools=[TOOL])
    events, final = whole_stream(client, tools=[TOOL])
    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use"]
    assert whole.content[0].thinking == "let me see" and whole.content[1].text == "Let me look. "
    assert whole.content[2].input == {"city": "Oslo"} and whole.stop_reason == final.stop_reason == "tool_use"
    without_ids = [
        [{k: v for k, v in block.model_dump().items() if k not in ("id", "parsed_output")} for block in m.content]
        for m in (whole, final)
    ]
    assert without_ids[0] == without_ids[1] and final.usage.output_tokens == whole.usage.output_tokens
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 3
    assert "".join(event.text for event in events if event.type == "text").strip() == "Let me look."
    assert "".join(event.partial_json for event in events if event.type == "input_json") == '{"city": "Oslo"}'


def test_each_event_has_its_name(server: Served) -> None:  # noqa: F811
    body = {"model": "tiny", "messages": ASK, "max_tokens": 2, "stream": True}
    status, headers, data = server.raw("POST", "/v1/messages?beta=true", body)
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    for lines in data.decode().strip().split("\n\n"):
        name, text = lines.split("\n")
        assert json.loads(text.removeprefix("data: "))["type"] == name.removeprefix("event: ")


def test_results_of_tools_go_back(client: anthropic.Anthropic, says: Says, server: Served, monkeypatch: Any) -> None:  # noqa: F811
    says(f"<think>hm</think>{CALL}")
    first = create(client, tools=[TOOL])
    id = first.content[-1].id
    asked: list[str] = []
    submit = server.model.scheduler.submit
    monkeypatch.setattr(server.model.scheduler, "submit", lambda r, d: asked.append(r.prompt.text) or submit(r, d))
    says("It rains.")
    content = [
        {"type": "tool_result", "tool_use_id": id, "content": [{"type": "text", "text": "rain"}], "is_error": True},
        {"type": "text", "text": "and then?"},
    ]
    messages = [*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": content}]
    assert create(client, messages=messages, tools=[TOOL]).content[0].text == "It rains."
    call = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'
    assert f"{call}tool: Error: rainuser: and then?" in asked[0]


def test_one_call_at_most_or_none(client: anthropic.Anthropic, says: Says) -> None:  # noqa: F811
    says(CALL + CALL)
    assert len(create(client, tools=[TOOL], max_tokens=200).content) == 2
    one = {"type": "auto", "disable_parallel_tool_use": True}
    assert len(create(client, tools=[TOOL], max_tokens=200, tool_choice=one).content) == 1
    says(CALL)
    got = create(client, tools=[TOOL], tool_choice={"type": "none"})
    assert got.content[0].text == CALL and got.stop_reason == "end_turn"


def test_ends(client: anthropic.Anthropic, says: Says) -> None:  # noqa: F811
    says("one two three four")
    got = create(client, stop_sequences=["nothing", "three"])
    assert (got.content[0].text, got.stop_reason, got.stop_sequence) == ("one two ", "stop_sequence", "three")
    _, streamed = whole_stream(client, stop_sequences=["two"])
    assert (streamed.content[0].text, streamed.stop_reason, streamed.stop_sequence) == ("one ", "stop_sequence", "two")
    assert create(client, max_tokens=2).stop_reason == "max_tokens"


@pytest.mark.parametrize(
    ("thinking", "closed"),
    [({"type": "disabled"}, True), ({"type": "adaptive"}, False), ({"type": "enabled", "budget_tokens": 1024}, False)],
)
def test_thinking_is_switched(
    client: anthropic.Anthropic, server: Served, monkeypatch: Any, thinking: Any, closed: bool  # noqa: F811
) -> None:  # fmt: skip
    asked: list[Any] = []
    submit = server.model.scheduler.submit
    monkeypatch.setattr(server.model.scheduler, "submit", lambda r, d: asked.append(r) or submit(r, d))
    create(client, thinking=thinking, max_tokens=1)
    assert asked[0].prompt.text.endswith("<think></think>") == closed
    assert asked[0].think_budget == thinking.get("budget_tokens")


def test_the_request_of_an_agent(client: anthropic.Anthropic, says: Says, server: Served, monkeypatch: Any) -> None:  # noqa: F811
    """What Claude Code 2.1 sends: limits beyond the context, and instructions in the middle of a conversation."""
    asked: list[Any] = []
    submit = server.model.scheduler.submit
    monkeypatch.setattr(server.model.scheduler, "submit", lambda r, d: asked.append(r.prompt.text) or submit(r, d))
    says(CALL)
    got = client.beta.messages.create(
        model="tiny",
        max_tokens=32_000,
        system=[
            {"type": "text", "text": "be short"},
            {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
        ],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]},
            {"role": "system", "content": "b"},
        ],
        tools=[TOOL],
        thinking={"type": "adaptive"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        output_config={"effort": "high"},
        metadata={"user_id": "me"},
        betas=["context-management-2025-06-27", "effort-2025-11-24"],
    )
    assert got.stop_reason == "tool_use" and asked[0].endswith("system: be short\nxuser: asystem: bassistant:")


def test_thoughts_may_be_left_out(client: anthropic.Anthropic, says: Says) -> None:  # noqa: F811
    says("<think>let me see</think>blue")
    thinking = {"type": "adaptive", "display": "omitted"}
    for got in (create(client, thinking=thinking), whole_stream(client, thinking=thinking)[1]):
        assert [block.type for block in got.content] == ["thinking", "text"] and got.content[0].thinking == ""
        assert got.usage.output_tokens_details.thinking_tokens > 3


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a field that nobody reads": ({"extra_body": {"foo": 1}}, "foo"),
    "no messages": ({"messages": []}, "messages"),
    "no limit": ({"max_tokens": 0}, "max_tokens"),
    "a picture": (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "file:///x"}}]}]},
        r"messages\[0\].content\[0\].type",
    ),
    "an answer that goes on": ({"messages": [*ASK, {"role": "assistant", "content": "It"}]}, "messages"),
    "a result of nothing": (
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "y"}]}]},
        r"messages\[0\].content\[0\].tool_use_id",
    ),
    "a tool of Anthropic": ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, r"tools\[0\].type"),
    "no such function": ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}}, "tool_choice"),
    "a format": ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
    "a budget": ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "thinking.budget_tokens"),
    "editing": (
        {"extra_body": {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}},
        r"context_management.edits\[0\].type",
    ),
    "temperature": ({"extra_body": {"temperature": -1}}, "temperature"),
    "too long": ({"messages": [{"role": "user", "content": "the dog " * 400}]}, "tokens"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(client: anthropic.Anthropic, name: str) -> None:
    import anthropic

    given, words = WRONG[name]
    with pytest.raises(anthropic.BadRequestError, match=words) as refusal:
        create(client, **given)
    body: Any = refusal.value.body
    assert body["type"] == "error" and body["error"]["type"] == "invalid_request_error"


def test_a_conversation_that_is_not_kept_is_sent_whole(client: anthropic.Anthropic, says: Says) -> None:  # noqa: F811
    """The client's runner of tools asks the server to keep the conversation, and goes on without."""
    import anthropic

    @anthropic.beta_tool
    def weather(city: str) -> str:
        """The weather in a city.

        Args:
            city: its name
        """
        says("It rains.")
        return "rain"

    says(CALL)
    runner = client.beta.messages.tool_runner(model="tiny", max_tokens=99, messages=ASK, tools=[weather])
    assert [message.content[-1].type for message in runner] == ["tool_use", "text"]


def test_errors_have_their_classes(client: anthropic.Anthropic, server: Served, monkeypatch: Any) -> None:  # noqa: F811
    import anthropic

    with pytest.raises(anthropic.NotFoundError, match="there are: tiny"):
        create(client, model="claude")
    monkeypatch.setattr(server.model.scheduler, "submit", fails(QueueFullError("all sequences are taken")))
    with pytest.raises(anthropic.RateLimitError):
        create(client)
    monkeypatch.undo()

    def fail(*_: Any) -> Any:
        raise ResourceError("no memory")

    monkeypatch.setattr(server.model.scheduler._engine, "run", fail)
    with pytest.raises(anthropic.APIStatusError, match="no memory"):
        whole_stream(client)


def test_a_key_comes_either_way(tiny: Path) -> None:  # noqa: F811
    import anthropic

    key = "0123456789abcdef"
    with running({"tiny": tiny}, (key,)) as served:
        for given in ({"api_key": key}, {"auth_token": key}):
            with anthropic.Anthropic(base_url=served.url, max_retries=0, **given) as client:
                assert create(client, max_tokens=1).usage.output_tokens == 1
        with (
            anthropic.Anthropic(base_url=served.url, max_retries=0, api_key="x" * 16) as client,
            pytest.raises(anthropic.AuthenticationError),
        ):
            create(client)
