"""Functions in OpenAI's chats, with its official client: calls and what they gave, streams, which may be called."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from served import client, prompts, says, server, tiny  # noqa: F401  fixtures
from test_serve_openai import ASK, TOOL, F, Says, chat

if TYPE_CHECKING:
    import openai

CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'


def test_functions_are_called_and_answered(client: openai.OpenAI, says: Says) -> None:  # noqa: F811
    says(f"Let me look. {CALL}")
    choice = chat(client, tools=[TOOL], max_tokens=99).choices[0]
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls" and choice.message.content.strip() == "Let me look."
    assert call.function.name == "weather" and json.loads(call.function.arguments) == {"city": "Oslo"}
    says("It rains.")
    answer = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    got = chat(client, messages=[*ASK, choice.message.model_dump(exclude_none=True), answer], tools=[TOOL])
    assert got.choices[0].message.content == "It rains."


def test_calls_in_a_stream(client: openai.OpenAI, says: Says) -> None:  # noqa: F811
    says(CALL + CALL)
    chunks = [c.choices[0] for c in chat(client, tools=[TOOL], max_tokens=200, stream=True)]
    calls = [call for chunk in chunks for call in chunk.delta.tool_calls or ()]
    assert [(c.index, c.function.name) for c in calls] == [(0, "weather"), (1, "weather")]
    assert calls[0].id != calls[1].id and chunks[-1].finish_reason == "tool_calls"
    one = chat(client, tools=[TOOL], max_tokens=200, parallel_tool_calls=False)
    assert len(one.choices[0].message.tool_calls) == 1


def test_calls_of_some_functions(client: openai.OpenAI, says: Says, prompts: list[str]) -> None:  # noqa: F811
    says(CALL)
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "weather"}}]}
    got = chat(client, tools=[F, TOOL], tool_choice={"type": "allowed_tools", "allowed_tools": allowed}, max_tokens=99)
    assert got.choices[0].message.tool_calls[0].function.name == "weather"
    assert '"weather"' in prompts[0] and '"f"' not in prompts[0]


def test_a_call_that_is_cut_short_is_text(client: openai.OpenAI, says: Says) -> None:  # noqa: F811
    says(CALL)
    choice = chat(client, tools=[TOOL], max_tokens=30).choices[0]
    assert choice.message.content.startswith('{"name":') and choice.finish_reason == "length"
    assert not choice.message.tool_calls


def test_no_call_where_none_is_wanted(client: openai.OpenAI, says: Says) -> None:  # noqa: F811
    says(CALL)
    choice = chat(client, tools=[TOOL], tool_choice="none", max_tokens=99).choices[0]
    assert choice.message.content == CALL and not choice.message.tool_calls
