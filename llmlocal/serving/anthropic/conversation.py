"""Messages of a conversation, from Anthropic's blocks to the notation of chat templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..functions import MOST_FUNCTIONS, Declared, declared
from ..http.errors import refused
from ..http.fields import Fields
from ..openai.messages import MOST_MESSAGES, MOST_PARTS, Message, content_field

ROLES = ("user", "assistant", "system")
UNSUPPORTED = "unsupported_parameter"


def conversation_field(fields: Fields) -> list[Message]:
    """`system` and `messages`. Raises ApiError that names what is wrong."""
    system = content_field(fields, "system")
    found: list[Message] = [{"role": "system", "content": system}] if system else []
    fields.required("messages")
    names: dict[str, str] = {}  # of the functions that were called, by the id of the call
    role = None
    for given in fields.objects("messages", MOST_MESSAGES):
        role = given.required_choice("role", ROLES)
        content = given.required("content")
        if role == "system" or isinstance(content, str):
            found.append({"role": role, "content": content_field(given) or ""})
        elif role == "user":
            found += _of_user(given, names)
        else:
            found.append(_of_assistant(given, names))
        given.done()
    if role is None:
        raise refused("messages", "is empty")
    if role == "assistant":
        raise refused("messages", "the last one must be the user's: answers that go on are not supported", UNSUPPORTED)
    return found


def tools_field(fields: Fields) -> list[Declared]:
    """The functions that a request declares; tools that Anthropic itself would run are refused."""
    found = []
    for tool in fields.objects("tools", MOST_FUNCTIONS):
        tool.unless("type", ["custom"], "only functions of your own are supported")
        tool.required("input_schema")
        tool.ignore("cache_control", "eager_input_streaming", "input_examples")
        tool.unless("defer_loading", [False], "is not supported")
        tool.unless("allowed_callers", [["direct"]], "is not supported")
        found.append(declared(tool, "input_schema"))
    return found


def _of_user(message: Fields, names: Mapping[str, str]) -> list[Message]:
    """Texts and results of functions, in their order."""
    found: list[Message] = []

    def text(block: Fields) -> None:
        said = _text(block)
        if found and found[-1]["role"] == "user":
            found[-1]["content"] += "\n" + said
        else:
            found.append({"role": "user", "content": said})

    def result(block: Fields) -> None:
        id = block.required_text("tool_use_id")
        if id not in names:
            raise refused(block.place("tool_use_id"), "no earlier message has a tool_use of this id")
        said = content_field(block) or ""
        wrong = block.flag("is_error")
        block.ignore("cache_control")
        found.append(
            {
                "role": "tool",
                "tool_call_id": id,
                "name": names[id],
                "content": f"Error: {said}" if wrong else said,
            }
        )

    _each(message, {"text": text, "tool_result": result})
    return found


def _of_assistant(message: Fields, names: dict[str, str]) -> Message:
    """Texts, thoughts and calls as one message."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []

    def thought(block: Fields) -> None:
        thoughts.append(block.text("thinking") or "")
        block.ignore("signature")

    def call(block: Fields) -> None:
        id, name = block.required_text("id"), block.required_text("name")
        block.required("input")
        calls.append(
            {"type": "function", "id": id, "function": {"name": name, "arguments": block.mapping("input") or {}}}
        )
        names[id] = name
        block.ignore("cache_control", "caller")

    _each(message, {"text": lambda block: texts.append(_text(block)), "thinking": thought, "tool_use": call})
    made: Message = {"role": "assistant", "content": "\n".join(texts)}
    if any(thoughts):
        made["reasoning_content"] = "\n".join(thoughts)
    if calls:
        made["tool_calls"] = calls
    return made


def _each(message: Fields, kinds: Mapping[str, Callable[[Fields], None]]) -> None:
    """Read every block by its type. Raises ApiError for one of another type."""
    for block in message.objects("content", MOST_PARTS):
        kind = block.required_text("type")
        if kind not in kinds:
            said = f"'{kind[:40]}' is not supported here; {', '.join(kinds)} are"
            raise refused(block.place("type"), said, UNSUPPORTED)
        kinds[kind](block)
        block.done()


def _text(block: Fields) -> str:
    block.ignore("cache_control", "citations")
    return block.required_text("text")
