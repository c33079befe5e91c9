"""`/v1/messages` and `/v1/messages/count_tokens`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from ...chat_format.prompt import Prompt
from ...generation.events import Finished, PromptProgress, Token
from ..answers import Answers
from ..blocks import Block, Blocks, Step
from ..calling import Reader, tool_choice_object
from ..forms import Form, output_format
from ..http.body import json_fields
from ..http.errors import ApiError
from ..http.fields import Fields
from ..http.streams import event
from ..options import Options, sampling_fields, stop_field
from ..service import Conversation, Service, new_id
from ..text_model import TextModel
from .conversation import conversation_field, tools_field

LEAST_BUDGET = 1  # tokens of a thought
EFFORTS = ("low", "medium", "high", "xhigh", "max")


@dataclass(slots=True)
class MessagesRequest(Conversation):
    """What is asked, without how to answer it: the part of a request that makes its prompt."""

    shows_thoughts: bool

    @classmethod
    def read(cls, fields: Fields) -> MessagesRequest:
        """Raises ApiError that names the field which is wrong or not supported."""
        calling = tool_choice_object(fields, tools_field(fields))
        options = Options({})
        shows = _thinking(fields, options)
        options.form = calling.form(_output_config(fields, options))
        _context_management(fields)
        _thread(fields)
        messages = conversation_field(fields)
        fields.unless("mcp_servers", [[]], "is not supported")
        fields.unless("container", (), "is not supported")
        fields.unless("speed", ["standard"], "is not supported")
        fields.ignore("cache_control", "diagnostics", "metadata", "service_tier", "inference_geo")
        return cls(fields.text("model"), messages, calling, options, shows)

    async def prompt(self, model: TextModel) -> Prompt:
        """The prompt. A model that cannot think leaves the budget for it unused."""
        think = "auto" if self.options.think == "on" and not model.can_think else self.options.think
        return await model.chat_prompt(self.messages, self.calling.tools, think, self.options.effort)


def _thinking(fields: Fields, options: Options) -> bool:
    """`thinking`: whether and how much the model thinks; returns whether its thoughts are shown."""
    thinking = fields.object("thinking")
    if thinking is None:
        return True
    kind = thinking.required_choice("type", ("enabled", "adaptive", "disabled"))
    options.think = {"enabled": "on", "disabled": "off"}.get(kind, "auto")  # type: ignore[assignment]
    if kind == "enabled":
        thinking.required("budget_tokens")
        options.think_budget = thinking.whole("budget_tokens", LEAST_BUDGET)
    shows = thinking.choice("display", ("summarized", "omitted")) != "omitted"
    thinking.done()
    return shows


def _output_config(fields: Fields, options: Options) -> Form | None:
    """`output_config`: how much the model thinks, and the form of the answer."""
    config = fields.object("output_config")
    if config is None:
        return None
    options.effort = config.choice("effort", EFFORTS)
    form = output_format(config)
    config.done()
    return form


def _context_management(fields: Fields) -> None:
    """Accept what asks for the whole conversation to be kept, and refuse what would shorten it."""
    management = fields.object("context_management")
    for edit in management.objects("edits") if management is not None else ():
        edit.required_choice("type", ("clear_thinking_20251015",))
        edit.required("keep")
        edit.unless("keep", ["all"], "only 'all' is supported")
        edit.done()
    if management is not None:
        management.done()


def _thread(fields: Fields) -> None:
    """Refuse a conversation that the server should keep. Anthropic's client then sends the whole one each time."""
    if fields.any("thread") is not None:
        said = "thread: no conversation is kept here; send the whole one"
        raise ApiError(400, said, "thread", "thread_unsupported_request", detailed=True)


class MessageAnswer:
    """The answer to a conversation while it is made."""

    def __init__(self, asked: MessagesRequest, model: TextModel, prompt: Prompt, answers: Answers) -> None:
        self._asked, self._answers, self._blocks = asked, answers, Blocks()
        self._reader = Reader(asked.calling)
        self._end: Finished | None = None
        self._thought = 0
        self._head = {"id": new_id("msg_"), "type": "message", "role": "assistant", "model": model.name}
        self._prompt_tokens = len(prompt.ids)

    async def whole(self) -> dict[str, Any]:
        """The body of a response that is not streamed."""
        async for _, got in self._answers:
            for _ in self._steps(got):
                pass
        content = [self._content(block, block.text) for block in self._blocks.all]
        return {**self._head, "content": content, **self._stop(), "usage": self._usage()}

    async def pieces(self) -> AsyncIterator[bytes]:
        """The events of a stream."""
        empty: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
        usage = {"input_tokens": self._prompt_tokens, "output_tokens": 0}
        yield named("message_start", message={**self._head, **empty, "usage": usage})
        async for _, got in self._answers:
            if isinstance(got, PromptProgress):
                yield named("ping")
            for step in self._steps(got):
                for piece in self._step(step):
                    yield piece
        yield named("message_delta", delta=self._stop(), usage=self._usage())
        yield named("message_stop")

    def _steps(self, got: Any) -> Iterator[Step]:
        """What an event changes."""
        if isinstance(got, Token):
            self._thought += got.thinking
            for delta in self._reader.deltas(got):
                yield from self._blocks.add(delta)
        elif isinstance(got, Finished):
            self._end = got
            yield from self._blocks.end()

    def _step(self, step: Step) -> Iterator[bytes]:
        """The events of a change."""
        block, index = step.block, step.block.index
        if step.what == "begin":
            yield named("content_block_start", index=index, content_block=self._content(block, ""))
            if block.kind == "call":
                delta = {"type": "input_json_delta", "partial_json": block.text}
                yield named("content_block_delta", index=index, delta=delta)
        elif step.what == "end":
            if block.kind == "reasoning":
                yield named("content_block_delta", index=index, delta={"type": "signature_delta", "signature": ""})
            yield named("content_block_stop", index=index)
        elif block.kind == "content":
            yield named("content_block_delta", index=index, delta={"type": "text_delta", "text": step.text})
        elif self._asked.shows_thoughts:
            yield named("content_block_delta", index=index, delta={"type": "thinking_delta", "thinking": step.text})

    def _content(self, block: Block, text: str) -> dict[str, Any]:
        """A block with `text`; a call without text has no arguments yet."""
        if block.kind == "content":
            return {"type": "text", "text": text}
        if block.kind == "reasoning":
            return {"type": "thinking", "thinking": text if self._asked.shows_thoughts else "", "signature": ""}
        block.id = block.id or new_id("toolu_")
        call = block.first.call
        assert call is not None
        return {"type": "tool_use", "id": block.id, "name": call.name, "input": dict(call.arguments) if text else {}}

    def _stop(self) -> dict[str, Any]:
        """Why the answer ended."""
        assert self._end is not None
        found = self._end.stop_string
        reason = {"length": "max_tokens", "context": "model_context_window_exceeded"}.get(self._end.reason)
        said = reason or ("stop_sequence" if found else "tool_use" if self._blocks.has_calls else "end_turn")
        return {"stop_reason": said, "stop_sequence": found}

    def _usage(self) -> dict[str, Any]:
        """Numbers of tokens: those of the prompt that were read now, and those that were known, are apart."""
        assert self._end is not None
        return {
            "input_tokens": self._end.prompt_tokens - self._end.reused_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": self._end.reused_tokens,
            "output_tokens": self._end.generated_tokens,
            "output_tokens_details": {"thinking_tokens": self._thought},
        }


def named(kind: str, **values: Any) -> bytes:
    """An event, whose data has its name as `type`."""
    return event({"type": kind, **values}, kind)


def described(error: ApiError) -> bytes:
    """An error within a stream."""
    return event(error.body("anthropic"), "error")


async def messages(service: Service, http: Request) -> Response | ASGIApp:
    """Answer a conversation."""
    fields = await json_fields(http)
    asked = MessagesRequest.read(fields)
    options = asked.options
    options.sampling = sampling_fields(fields)
    options.stop = stop_field(fields, "stop_sequences")
    fields.required("max_tokens")
    options.max_tokens = fields.whole("max_tokens", 1)
    stream = fields.flag("stream")
    fields.done()
    model = await service.pool.text_model(asked.model)
    prompt = await asked.prompt(model)
    answers = service.answers(model, await options.requests(model, [prompt], await asked.calling.calls(model)))
    return await service.respond(http, answers, MessageAnswer(asked, model, prompt, answers), described, stream=stream)


async def count_tokens(service: Service, http: Request) -> Response:
    """How many tokens the prompt of a conversation has."""
    fields = await json_fields(http)
    asked = MessagesRequest.read(fields)
    fields.done()
    prompt = await asked.prompt(await service.pool.text_model(asked.model))
    return JSONResponse({"input_tokens": len(prompt.ids)})
