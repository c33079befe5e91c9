"""The input of `/v1/responses`: a text, or items of a conversation, to the notation of chat templates."""

from __future__ import annotations

from typing import Any

from ..functions import MOST_FUNCTIONS, Declared, arguments, declared
from ..http.errors import refused
from ..http.fields import Fields
from .messages import MOST_MESSAGES, MOST_PARTS, Message, content_field

ROLES = ("system", "developer", "user", "assistant")
PARTS = ("input_text", "output_text", "text", "refusal")
UNSUPPORTED = "unsupported_parameter"


def input_field(fields: Fields) -> list[Message]:
    """`instructions` and `input`. Raises ApiError that names what is wrong."""
    instructions = fields.text("instructions")
    found: list[Message] = [{"role": "system", "content": instructions}] if instructions else []
    given = fields.required("input")
    if isinstance(given, str):
        return [*found, {"role": "user", "content": given}]
    items = Items(found)
    for item in fields.objects("input", MOST_MESSAGES):
        items.add(item)
        item.done()
    if not items.count:
        raise refused("input", "is empty")
    return found


def tools_field(fields: Fields) -> list[Declared]:
    """The functions that a request declares; tools that OpenAI itself would run are refused."""
    found = []
    for tool in fields.objects("tools", MOST_FUNCTIONS):
        kind = tool.required_text("type")
        if kind != "function":
            raise refused(tool.place("type"), "must be function", UNSUPPORTED)
        tool.unless("defer_loading", [False], "is not supported")
        found.append(declared(tool))
    return found


class Items:
    """Adds items to `messages`: what an assistant thought, said and called in a row is one message."""

    def __init__(self, messages: list[Message]) -> None:
        self.count, self._messages = 0, messages
        self._open: Message | None = None  # the assistant's message that the next item may belong to

    def add(self, item: Fields) -> None:
        """Add an item. Raises ApiError for one that is not supported."""
        self.count += 1
        kind = item.text("type") or "message"
        item.ignore("status")
        if kind == "message":
            self._message(item)
        elif kind == "reasoning":
            self._reasoning(item)
        elif kind == "function_call":
            self._call(item)
        elif kind == "function_call_output":
            id, said = item.required_text("call_id"), content_field(item, "output", PARTS)
            item.ignore("id")
            self._open = None
            self._messages.append({"role": "tool", "tool_call_id": id, "content": said or ""})
        else:
            raise refused(item.place("type"), f"'{kind[:40]}' is not supported", UNSUPPORTED)

    def _message(self, item: Fields) -> None:
        role = item.required_choice("role", ROLES)
        item.required("content")
        text = content_field(item, "content", PARTS) or ""
        item.ignore("id", "phase")
        if role != "assistant":
            self._open = None
            self._messages.append({"role": "system" if role == "developer" else role, "content": text})
            return
        message = self._assistant(new="content" in (self._open or {}) and bool((self._open or {})["content"]))
        message["content"] = text

    def _reasoning(self, item: Fields) -> None:
        texts = [part.required_text("text") for part in item.objects("content", MOST_PARTS)]
        texts = texts or [part.required_text("text") for part in item.objects("summary", MOST_PARTS)]
        item.ignore("id", "summary")
        item.unless("encrypted_content", (), "cannot be read here")
        if texts:
            self._assistant(new=True)["reasoning_content"] = "\n".join(texts)

    def _call(self, item: Fields) -> None:
        name, id = item.required_text("name"), item.required_text("call_id")
        given = arguments(item.text("arguments") or "", item.place("arguments"))
        item.ignore("id")
        calls: list[Any] = self._assistant().setdefault("tool_calls", [])
        calls.append({"type": "function", "id": id, "function": {"name": name, "arguments": given}})

    def _assistant(self, *, new: bool = False) -> Message:
        if self._open is None or new:
            self._open = {"role": "assistant", "content": ""}
            self._messages.append(self._open)
        return self._open
