"""A conversation as a document: Markdown for people, plain data for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .conversation import Conversation, Message

SHAREGPT = {"user": "human", "assistant": "gpt", "tool": "observation"}
NAMES = {"user": "You", "assistant": "Model", "tool": "Function"}


def markdown(conversation: Conversation) -> str:
    """Markdown: a heading for each speaker, texts unchanged."""
    parts = [f"## System\n\n{conversation.system}"] if conversation.system else []
    parts += [part for turn in conversation.turns for message in turn.messages for part in _part(message)]
    return "\n\n".join(parts) + "\n"


def record(conversation: Conversation) -> dict[str, Any]:
    """Plain data: the system prompt and all messages in OpenAI's notation."""
    messages = [message for turn in conversation.turns for message in turn.messages]
    system = [{"role": "system", "content": conversation.system}] if conversation.system else []
    return {"messages": [*system, *messages]}


def openai(conversation: Conversation) -> dict[str, Any]:
    """The request body that OpenAI's chat API takes: messages alone, without what only we know of them."""
    messages = []
    for message in record(conversation)["messages"]:
        kept = {key: message[key] for key in ("role", "content", "tool_call_id") if message.get(key) is not None}
        if calls := message.get("tool_calls"):
            kept["tool_calls"] = [_openai_call(call) for call in calls]
        messages.append(kept)
    return {"messages": messages}


def sharegpt(conversation: Conversation, id: str) -> list[dict[str, Any]]:
    """A data set of one conversation in ShareGPT's form: `from` is system, human, gpt, function_call or observation."""
    lines = []
    for message in record(conversation)["messages"]:
        for call in message.get("tool_calls") or ():
            lines.append({"from": "function_call", "value": json.dumps(call.get("function"), ensure_ascii=False)})
        speaker = SHAREGPT.get(str(message["role"]), str(message["role"]))
        if text := str(message.get("content") or ""):
            lines.append({"from": speaker, "value": text})
    return [{"id": id, "conversations": lines}]


def _openai_call(call: dict[str, Any]) -> dict[str, Any]:
    """A function call whose arguments are JSON in a text, as OpenAI has them."""
    function = call.get("function") or {}
    arguments = function.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": call.get("id", ""), "type": "function", "function": {"name": function.get("name"), "arguments": text}}


def _part(message: Message) -> Iterator[str]:
    name = NAMES.get(str(message["role"]), str(message["role"]))
    if thought := message.get("reasoning_content"):
        quoted = "\n".join(f"> {line}" for line in str(thought).splitlines())
        yield f"## {name}, thinking\n\n{quoted}"
    for call in message.get("tool_calls") or ():
        yield f"## {name} calls a function\n\n```json\n{json.dumps(call.get('function'), ensure_ascii=False)}\n```"
    if (text := str(message.get("content") or "")) or message["role"] == "user":
        yield f"## {name}\n\n{text}"
