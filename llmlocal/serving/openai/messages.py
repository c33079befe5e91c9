"""Messages of a conversation, from OpenAI's notation to that of chat templates."""

from __future__ import annotations

from typing import Any

from ..functions import MOST_FUNCTIONS, Declared, arguments, declared
from ..http.errors import refused
from ..http.fields import Fields

MOST_MESSAGES, MOST_PARTS = 4096, 256
ROLES = ("system", "developer", "user", "assistant", "tool")
Message = dict[str, Any]


def messages_field(fields: Fields) -> list[Message]:
    """The messages of a request. Raises ApiError that names what is wrong."""
    fields.required("messages")
    found = [_message(message) for message in fields.objects("messages", MOST_MESSAGES)]
    if not found:
        raise refused("messages", "is empty")
    return found


def tools_field(fields: Fields) -> list[Declared]:
    """The functions that a request declares."""
    found = []
    for tool in fields.objects("tools", MOST_FUNCTIONS):
        if tool.required_text("type") != "function":
            raise refused(tool.place("type"), "must be function", "unsupported_parameter")
        found.append(declared(tool.required_object("function")))
        tool.done()
    return found


def content_field(message: Fields, name: str = "content", kinds: tuple[str, ...] = ("text",)) -> str | None:
    """A text: a string, or a list of parts that are texts. Nothing that a part refers to is ever opened."""
    value = message.any(name)
    if value is None or isinstance(value, str):
        return value
    texts = []
    for part in message.objects(name, MOST_PARTS):
        kind = part.required_text("type")
        if kind not in kinds:
            said = f"'{kind[:40]}' is not supported; only text is"
            raise refused(part.place("type"), said, "unsupported_parameter")
        texts.append(part.required_text("refusal" if kind == "refusal" else "text"))
        part.ignore("annotations", "cache_control", "logprobs")
        part.done()
    return "\n".join(texts)


def _message(given: Fields) -> Message:
    role = given.required_choice("role", ROLES)
    kinds = ("text", "refusal") if role == "assistant" else ("text",)
    content = content_field(given, kinds=kinds) or ""
    message: Message = {"role": "system" if role == "developer" else role, "content": content}
    name = given.text("name", 64)
    if name:
        message["name"] = name
    if role == "assistant":
        given.unless("audio", (), "is not supported")
        given.unless("function_call", (), "use tool_calls")
        reasoning = given.text("reasoning_content") or given.text("reasoning")
        if reasoning:
            message["reasoning_content"] = reasoning
        message["content"] = message["content"] or given.text("refusal") or ""
        given.ignore("refusal", "annotations")
        calls = [_call(call) for call in given.objects("tool_calls", MOST_FUNCTIONS)]
        if calls:
            message["tool_calls"] = calls
    elif role == "tool":
        message["tool_call_id"] = given.required_text("tool_call_id")
    if role != "assistant" and given.any("content") is None:
        raise refused(given.place("content"), "is missing", "missing_required_parameter")
    given.done()
    return message


def _call(call: Fields) -> dict[str, Any]:
    call.choice("type", ("function",))
    call.ignore("index")
    function = call.required_object("function")
    name, given = function.required_text("name"), function.text("arguments") or ""
    made = {"name": name, "arguments": arguments(given, function.place("arguments"))}
    function.done()
    id = call.text("id", 128) or ""
    call.done()
    return {"type": "function", "id": id, "function": made}
