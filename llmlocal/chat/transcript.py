"""A conversation as a document for people or programs. Knows no terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .conversation import Conversation, Message

NAMES = {"user": "You", "assistant": "Model", "tool": "Function"}


def markdown(talk: Conversation) -> str:
    """Headings for who speaks, their words as they are."""
    parts = [f"## System\n\n{talk.system}"] if talk.system else []
    parts += [part for turn in talk.turns for message in turn.messages for part in _part(message)]
    return "\n\n".join(parts) + "\n"


def record(talk: Conversation) -> dict[str, Any]:
    """Plain data: the system text and all messages, as chat interfaces take them."""
    messages = [message for turn in talk.turns for message in turn.messages]
    return {"messages": [*([{"role": "system", "content": talk.system}] if talk.system else []), *messages]}


def _part(message: Message) -> Iterator[str]:
    name = NAMES.get(str(message["role"]), str(message["role"]))
    if thought := message.get("reasoning_content"):
        quoted = "\n".join(f"> {line}" for line in str(thought).splitlines())
        yield f"## {name}, thinking\n\n{quoted}"
    for call in message.get("tool_calls") or ():
        yield f"## {name} calls a function\n\n```json\n{json.dumps(call.get('function'), ensure_ascii=False)}\n```"
    if (text := str(message.get("content") or "")) or message["role"] == "user":
        yield f"## {name}\n\n{text}"
