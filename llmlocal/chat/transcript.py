"""A conversation as a document: Markdown for people, plain data for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .conversation import Conversation, Message

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


def _part(message: Message) -> Iterator[str]:
    name = NAMES.get(str(message["role"]), str(message["role"]))
    if thought := message.get("reasoning_content"):
        quoted = "\n".join(f"> {line}" for line in str(thought).splitlines())
        yield f"## {name}, thinking\n\n{quoted}"
    for call in message.get("tool_calls") or ():
        yield f"## {name} calls a function\n\n```json\n{json.dumps(call.get('function'), ensure_ascii=False)}\n```"
    if (text := str(message.get("content") or "")) or message["role"] == "user":
        yield f"## {name}\n\n{text}"
