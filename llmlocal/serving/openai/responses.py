"""`/v1/responses`: OpenAI's second protocol for conversations. Nothing is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from time import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from ...generation.events import Finished, PromptProgress, Token
from ..answers import Answers
from ..blocks import Block, Blocks, Step
from ..calling import Reader, tool_choice
from ..forms import text_format
from ..http.body import json_fields
from ..http.errors import ApiError, refused
from ..http.fields import Fields
from ..http.streams import comment, event
from ..options import EFFORTS, HARMLESS, Options, sampling_fields
from ..service import Conversation, Service, new_id
from ..text_model import TextModel
from .response_items import input_field, tools_field
from .usage import Usage

PREFIXES = {"content": "msg_", "reasoning": "rs_", "call": "fc_"}
NOT_STORED = "no answer is stored here; send the whole conversation as input"
ENCRYPTED = "reasoning.encrypted_content"  # asked for by clients that send thoughts back; ours come as they are


@dataclass(slots=True)
class ResponseRequest(Conversation):
    """A request, checked. `echo` are fields that the response repeats."""

    stream: bool
    echo: dict[str, Any]

    @classmethod
    def read(cls, fields: Fields) -> ResponseRequest:
        """Raises ApiError that names the field which is wrong or not supported."""
        for name in ("previous_response_id", "conversation", "prompt"):
            fields.unless(name, (), NOT_STORED)
        names = ("tools", "instructions", "metadata", "temperature", "top_p", "max_output_tokens", "reasoning", "user")
        echo = {name: fields.any(name) for name in names}
        chosen = fields.any("tool_choice")
        calling = tool_choice(fields, tools_field(fields))
        options = Options(sampling_fields(fields), fields.whole("max_output_tokens", 1))
        _reasoning(fields, options)
        options.form = calling.form(text_format(fields))
        echo |= {"tools": echo["tools"] or [], "tool_choice": chosen or "auto"}
        request = cls(fields.text("model"), input_field(fields), calling, options, fields.flag("stream"), echo)
        if [word for word in fields.list("include") or () if word != ENCRYPTED]:
            raise refused("include", f"only {ENCRYPTED} is accepted", "unsupported_parameter")
        stream = fields.object("stream_options")
        if stream is not None:
            stream.ignore("include_obfuscation")
            stream.done()
        fields.unless("background", [False], "is not supported")
        fields.unless("truncation", ["disabled"], "only disabled is supported")
        fields.unless("service_tier", ["auto", "default"], "there is one tier only")
        fields.unless("top_logprobs", [0], "is not supported here; /v1/chat/completions has it")
        fields.unless("max_tool_calls", (), "is not supported")
        fields.unless("context_management", [[]], "is not supported")
        fields.ignore(*HARMLESS)
        fields.done()
        return request


def _reasoning(fields: Fields, options: Options) -> None:
    """`reasoning`: how much the model thinks. Thoughts are shown as they are, whichever summary is wanted."""
    reasoning = fields.object("reasoning")
    if reasoning is None:
        return
    effort = reasoning.choice("effort", EFFORTS)
    if effort is not None:
        options.think, options.effort = ("off", None) if effort == "none" else ("auto", effort)
    reasoning.ignore("summary", "generate_summary")
    reasoning.done()


class ResponseAnswer:
    """The answer to a request while it is made."""

    def __init__(self, request: ResponseRequest, model: TextModel, answers: Answers) -> None:
        self._answers, self._blocks, self._reader = answers, Blocks(), Reader(request.calling)
        self._usage = Usage()
        self._end: Finished | None = None
        self._sent = 0
        self._head = {"id": new_id("resp_"), "object": "response", "created_at": int(time()), "model": model.name}
        self._head |= {**request.echo, "parallel_tool_calls": not request.calling.one, "previous_response_id": None}
        self._head |= {"background": False, "store": False, "truncation": "disabled", "error": None}

    async def whole(self) -> dict[str, Any]:
        """The body of a response that is not streamed."""
        async for _, got in self._answers:
            for _ in self._steps(got):
                pass
        return self._body()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The events of a stream."""
        yield self._event("response.created", response=self._body())
        yield self._event("response.in_progress", response=self._body())
        async for _, got in self._answers:
            if isinstance(got, PromptProgress):
                yield comment(f"{got.done}/{got.total} tokens of the prompt are read")
            for step in self._steps(got):
                for piece in self._step(step):
                    yield piece
        body = self._body()
        yield self._event(f"response.{body['status']}", response=body)

    def described(self, error: ApiError) -> bytes:
        """An error within a stream."""
        said = error.body("openai")["error"]
        return self._event("error", code=said["code"] or said["type"], message=said["message"], param=said["param"])

    def _steps(self, got: Any) -> Iterator[Step]:
        """What an event changes."""
        if isinstance(got, Token):
            self._usage.reasoning += got.thinking
            for delta in self._reader.deltas(got):
                yield from self._blocks.add(delta)
        elif isinstance(got, Finished):
            self._end = got
            self._usage.add(got)
            yield from self._blocks.end()

    def _step(self, step: Step) -> Iterator[bytes]:
        """The events of a change."""
        block, call = step.block, step.block.kind == "call"
        if step.what == "begin":
            yield self._event("response.output_item.added", output_index=block.index, item=_item(block, done=False))
        place = {"item_id": block.id, "output_index": block.index} | ({} if call else {"content_index": 0})
        named = {"content": "output_text", "reasoning": "reasoning_text", "call": "function_call_arguments"}[block.kind]
        logprobs: dict[str, Any] = {"logprobs": []} if block.kind == "content" else {}
        if step.what == "begin" and not call:
            yield self._event("response.content_part.added", **place, part=_part(block, ""))
        elif step.what == "text" or (call and step.what == "begin"):
            yield self._event(f"response.{named}.delta", **place, delta=step.text or block.text, **logprobs)
        elif step.what == "end":
            made = block.first.call
            text = {"name": made.name, "arguments": block.text} if made else {"text": block.text}
            yield self._event(f"response.{named}.done", **place, **text, **logprobs)
            if not call:
                yield self._event("response.content_part.done", **place, part=_part(block, block.text))
            yield self._event("response.output_item.done", output_index=block.index, item=_item(block))

    def _body(self) -> dict[str, Any]:
        """The response, as far as it has come."""
        incomplete = self._end is not None and self._end.reason != "stop"
        status = "in_progress" if self._end is None else "incomplete" if incomplete else "completed"
        return {
            **self._head,
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if incomplete else None,
            "output": [] if self._end is None else [_item(block) for block in self._blocks.all],
            "usage": None if self._end is None else self._usage.of_response(),
        }

    def _event(self, kind: str, **values: Any) -> bytes:
        made = event({"type": kind, "sequence_number": self._sent, **values}, kind)
        self._sent += 1
        return made


def _part(block: Block, text: str) -> dict[str, Any]:
    """The content of an item, with `text`."""
    if block.kind == "reasoning":
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _item(block: Block, *, done: bool = True) -> dict[str, Any]:
    """An item of the output; without its content where it is not done."""
    block.id = block.id or new_id(PREFIXES[block.kind])
    head = {"id": block.id, "status": "completed" if done else "in_progress"}
    if block.kind == "call":
        call = block.first.call
        assert call is not None
        called = {"call_id": block.first.id, "name": call.name, "arguments": block.text if done else ""}
        return {**head, "type": "function_call", **called}
    content = [_part(block, block.text)] if done else []
    if block.kind == "reasoning":
        return {**head, "type": "reasoning", "summary": [], "content": content}
    return {**head, "type": "message", "role": "assistant", "content": content}


async def responses(service: Service, http: Request) -> Response | ASGIApp:
    """Answer a conversation."""
    request = ResponseRequest.read(await json_fields(http))
    model = await service.pool.text_model(request.model)
    answers = await service.continued(model, request)
    answer = ResponseAnswer(request, model, answers)
    return await service.respond(http, answers, answer, answer.described, stream=request.stream)
