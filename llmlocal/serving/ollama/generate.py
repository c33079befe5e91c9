"""`/api/chat` and `/api/generate`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from ...chat_format.prompt import Prompt
from ...generation.events import Finished, Token
from ..answers import Answers
from ..calling import Calling, Reader
from ..http.body import json_fields
from ..http.errors import ApiError, refused
from ..http.fields import Fields
from ..http.streams import LINES, compact
from ..openai.messages import MOST_MESSAGES, Message, tools_field
from ..options import Options
from ..service import Conversation, Service
from ..text_model import TextModel
from .options import check_context, name_field, options_field

ROLES = ("system", "user", "assistant", "tool")
NANO = 1_000_000_000
Said = Callable[[Mapping[str, Any]], dict[str, Any]]  # from content, thinking and tool_calls to fields of a response


def now() -> str:
    """The time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class LinesAnswer:
    """An answer while it is made. `said` gives the fields that hold its text."""

    def __init__(self, model: TextModel, answers: Answers, calling: Calling, said: Said) -> None:
        self._model, self._answers, self._reader, self._said = model, answers, Reader(calling), said
        self._began = perf_counter()

    async def whole(self) -> dict[str, Any]:
        """The body of a response that is not streamed."""
        texts = {"content": "", "thinking": ""}
        calls: list[Any] = []
        ended: dict[str, Any] = {}
        async for _, got in self._answers:
            for added in self._added(got):
                calls += added.get("tool_calls", ())
                for name in texts:
                    texts[name] += added.get(name, "")
            if isinstance(got, Finished):
                ended = self._ended(got)
        kept = {"content": texts["content"]} | ({"thinking": texts["thinking"]} if texts["thinking"] else {})
        return self._line({**kept, **({"tool_calls": calls} if calls else {})}) | ended

    async def pieces(self) -> AsyncIterator[bytes]:
        """The lines of a stream."""
        async for _, got in self._answers:
            for added in self._added(got):
                yield line({**self._line({"content": "", **added}), "done": False})
            if isinstance(got, Finished):
                yield line(self._line({"content": ""}) | self._ended(got))

    def _added(self, got: Any) -> list[dict[str, Any]]:
        """What an event adds to the answer, in Ollama's notation."""
        found: list[dict[str, Any]] = []
        for delta in self._reader.deltas(got) if isinstance(got, Token) else ():
            if delta.call is not None:
                function = {"name": delta.call.name, "arguments": dict(delta.call.arguments)}
                found.append({"tool_calls": [{"id": delta.id, "function": function}]})
            elif delta.text:
                found.append({"content" if delta.kind == "content" else "thinking": delta.text})
        return found

    def _line(self, added: Mapping[str, Any]) -> dict[str, Any]:
        return {"model": self._model.name, "created_at": now(), **self._said(added)}

    def _ended(self, end: Finished) -> dict[str, Any]:
        return {
            "done": True,
            "done_reason": "stop" if end.reason == "stop" else "length",
            "total_duration": int((perf_counter() - self._began) * NANO),
            "load_duration": 0,
            "prompt_eval_count": end.prompt_tokens,
            "prompt_eval_duration": int(end.prefill_seconds * NANO),
            "eval_count": end.generated_tokens,
            "eval_duration": int(end.decode_seconds * NANO),
        }


def line(value: Any) -> bytes:
    """A line of a stream."""
    return f"{compact(value)}\n".encode()


def described(error: ApiError) -> bytes:
    """An error within a stream."""
    return line(error.body("ollama"))


def loaded(model: TextModel, said: Said) -> Response:
    """What is answered where nothing is asked: clients load a model in this way."""
    head = {"model": model.name, "created_at": now(), **said({"content": ""})}
    return Response(line({**head, "done": True, "done_reason": "load"}), media_type="application/json")


def messages_field(fields: Fields) -> list[Message]:
    """The messages of a request. Raises ApiError that names what is wrong."""
    return [_message(message) for message in fields.objects("messages", MOST_MESSAGES)]


def _message(given: Fields) -> Message:
    role = given.required_choice("role", ROLES)
    message: Message = {"role": role, "content": given.text("content") or ""}
    given.unless("images", [[]], "only text is supported")
    if role == "assistant":
        thought, calls = given.text("thinking"), [_call(call) for call in given.objects("tool_calls", 128)]
        message |= {"reasoning_content": thought} if thought else {}
        message |= {"tool_calls": calls} if calls else {}
    elif role == "tool":
        message |= {"name": given.text("tool_name") or "", "tool_call_id": given.text("tool_call_id") or ""}
    given.done()
    return message


def _call(call: Fields) -> dict[str, Any]:
    function = call.required_object("function")
    made = {"name": function.required_text("name"), "arguments": function.mapping("arguments") or {}}
    function.ignore("index")
    function.done()
    call.choice("type", ("function",))
    id = call.text("id") or ""
    call.done()
    return {"type": "function", "id": id, "function": made}


async def chat(service: Service, http: Request) -> Response | ASGIApp:
    """Answer a conversation."""
    fields = await json_fields(http)
    (options, context), name, calling = options_field(fields), name_field(fields), Calling.of(tools_field(fields))
    messages, stream = messages_field(fields), fields.flag("stream", True)
    fields.done()
    model = await service.pool.text_model(name)
    check_context(model, context)
    said: Said = lambda added: {"message": {"role": "assistant", **added}}  # noqa: E731
    if not messages:
        return loaded(model, said)
    answers = await service.continued(model, Conversation(name, messages, calling, options))
    written = LinesAnswer(model, answers, calling, said)
    return await service.respond(http, answers, written, described, LINES, stream=stream)


async def generate(service: Service, http: Request) -> Response | ASGIApp:
    """Answer a prompt; with `raw`, or where the model has no chat template, continue it."""
    fields = await json_fields(http)
    (options, context), name = options_field(fields), name_field(fields)
    text, system, raw = fields.text("prompt") or "", fields.text("system"), fields.flag("raw")
    suffix, stream = fields.text("suffix"), fields.flag("stream", True)
    for unsupported in ("template", "context"):
        fields.unless(unsupported, ["", []], "is not supported")
    fields.done()
    if system and (raw or suffix):
        raise refused("system", "cannot be combined with raw or suffix")
    model = await service.pool.text_model(name)
    check_context(model, context)

    def said(added: Mapping[str, Any]) -> dict[str, Any]:
        return {"response": added["content"]} | ({"thinking": added["thinking"]} if "thinking" in added else {})

    if not text and not suffix:
        return loaded(model, said)
    prompt = await _prompt(model, options, text, system, suffix, raw=raw)
    answers = service.answers(model, await options.requests(model, [prompt]))
    written = LinesAnswer(model, answers, Calling(), said)
    return await service.respond(http, answers, written, described, LINES, stream=stream)


async def _prompt(
    model: TextModel, options: Options, text: str, system: str | None, suffix: str | None, *, raw: bool
) -> Prompt:
    """The prompt of a text to be answered, continued, or filled in before `suffix`."""
    if suffix:
        return await model.fill_prompt(text, suffix)
    if raw or not model.can_chat:
        return await model.plain_prompt(text)
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    return await model.chat_prompt([*messages, {"role": "user", "content": text}], (), options.think, options.effort)
