"""`/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from time import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from ...generation.events import Finished, PromptProgress, Token
from ...generation.log_probabilities import ScoredToken
from ..answers import Answers
from ..calling import Reader, tool_choice
from ..forms import response_format
from ..functions import Delta
from ..http.body import json_fields
from ..http.errors import refused
from ..http.fields import Fields
from ..http.streams import comment, event
from ..llamacpp.samplers import samplers_field
from ..options import (
    HARMLESS,
    HINTS,
    MOST_CHOICES,
    MOST_LOGPROBS,
    Options,
    limit_field,
    sampling_fields,
    stop_field,
    thinking_fields,
)
from ..service import Conversation, Service, new_id
from ..text_model import TextModel
from .logprobs import chat_entry
from .messages import messages_field, tools_field
from .usage import Usage

DONE = b"data: [DONE]\n\n"
LIMITS = ("max_completion_tokens", "max_tokens", "n_predict")


@dataclass(slots=True)
class ChatRequest(Conversation):
    """A request, checked."""

    stream: bool
    with_usage: bool

    @classmethod
    def read(cls, fields: Fields) -> ChatRequest:
        """Raises ApiError that names the field which is wrong or not supported."""
        calling = tool_choice(fields, tools_field(fields))
        sampling = sampling_fields(fields) | samplers_field(fields)
        options = Options(sampling, limit_field(fields, *LIMITS), stop_field(fields))
        options.n = fields.whole("n", 1, MOST_CHOICES) or 1
        top = fields.whole("top_logprobs", 0, MOST_LOGPROBS)
        options.logprobs = (top or 0) if fields.flag("logprobs") else None
        if top and options.logprobs is None:
            raise refused("top_logprobs", "needs logprobs: true")
        thinking_fields(fields, options)
        options.form = calling.form(response_format(fields))
        request = cls(
            fields.text("model"),
            messages_field(fields),
            calling,
            options,
            fields.flag("stream"),
            stream_usage(fields),
        )
        fields.unless("modalities", [["text"]], "only text is supported")
        fields.unless("service_tier", ["auto", "default"], "there is one tier only")
        fields.unless("functions", [[]], "use tools")
        fields.unless("verbosity", ["medium"], "is not supported")
        fields.unless("reasoning_format", ["auto", "deepseek"], "thoughts come as reasoning_content")
        fields.ignore(*HARMLESS, *HINTS)
        fields.done()
        return request


def stream_usage(fields: Fields) -> bool:
    """`stream_options`: whether a stream ends with the numbers of tokens."""
    options = fields.object("stream_options")
    if options is None:
        return False
    wanted = options.flag("include_usage")
    options.ignore("include_obfuscation")
    options.done()
    return wanted


@dataclass(slots=True)
class Choice:
    """One of the answers, as far as it has come."""

    reader: Reader
    texts: dict[str, list[str]] = field(default_factory=lambda: {"content": [], "reasoning": []})
    calls: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    end: Finished | None = None

    def add(self, delta: Delta) -> dict[str, Any]:
        """Add to the answer; returns the delta in OpenAI's notation."""
        if delta.kind != "call":
            self.texts[delta.kind].append(delta.text)
            return {"content" if delta.kind == "content" else "reasoning_content": delta.text}
        assert delta.call is not None
        function = {"name": delta.call.name, "arguments": delta.arguments}
        self.calls.append({"id": delta.id, "type": "function", "function": function})
        return {"tool_calls": [{"index": len(self.calls) - 1, **self.calls[-1]}]}

    @property
    def reason(self) -> str:
        """`finish_reason`."""
        if self.end is None or self.end.reason != "stop":
            return "length"
        return "tool_calls" if self.calls else "stop"

    @property
    def message(self) -> dict[str, Any]:
        """The whole message."""
        content, reasoning = ("".join(self.texts[kind]) for kind in ("content", "reasoning"))
        message: dict[str, Any] = {"role": "assistant", "content": content or (None if self.calls else "")}
        message["refusal"] = None
        if reasoning:
            message["reasoning_content"] = reasoning
        if self.calls:
            message["tool_calls"] = self.calls
        return message


class ChatAnswer:
    """The answers to a request while they are made."""

    def __init__(self, request: ChatRequest, model: TextModel, answers: Answers) -> None:
        self._request, self._model, self._answers = request, model, answers
        self._choices = [Choice(Reader(request.calling)) for _ in range(request.options.n)]
        self._usage = Usage()
        self._head = {"id": new_id("chatcmpl-"), "object": "chat.completion", "created": int(time())}
        self._head |= {"model": model.name, "system_fingerprint": None}

    async def whole(self) -> dict[str, Any]:
        """The body of a response that is not streamed."""
        async for i, got in self._answers:
            if isinstance(got, Token):
                self._added(i, got)
            elif isinstance(got, Finished):
                self._finished(i, got)
        choices = [
            {
                "index": i,
                "message": choice.message,
                "finish_reason": choice.reason,
                "logprobs": None if self._request.options.logprobs is None else {"content": choice.logprobs},
            }
            for i, choice in enumerate(self._choices)
        ]
        return {**self._head, "choices": choices, "usage": self._usage.body()}

    async def pieces(self) -> AsyncIterator[bytes]:
        """The events of a stream."""
        for i in range(len(self._choices)):
            yield self._chunk(i, {"role": "assistant", "content": ""})
        async for i, got in self._answers:
            if isinstance(got, PromptProgress):
                yield comment(f"{got.done}/{got.total} tokens of the prompt are read")
            elif isinstance(got, Token):
                added, logprobs = self._added(i, got)
                for delta in added or [{}] * bool(logprobs):
                    yield self._chunk(i, delta, logprobs)
                    logprobs = []
            else:
                self._finished(i, got)
                yield self._chunk(i, {}, reason=self._choices[i].reason)
        if self._request.with_usage:
            head = {**self._head, "object": "chat.completion.chunk"}
            yield event({**head, "choices": [], "usage": self._usage.body()})
        yield DONE

    def _added(self, i: int, token: Token) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Add a token to choice `i`: its deltas, and its log probabilities if they are wanted."""
        choice, logprobs = self._choices[i], []
        self._usage.reasoning += token.thinking
        if isinstance(token, ScoredToken) and token.id not in self._model.tokenizer.stop_ids:
            logprobs = [chat_entry(token, self._model.tokenizer)]
            choice.logprobs += logprobs
        return [choice.add(delta) for delta in choice.reader.deltas(token)], logprobs

    def _finished(self, i: int, end: Finished) -> None:
        """End choice `i`."""
        self._choices[i].end = end
        self._usage.add(end)

    def _chunk(
        self, i: int, delta: dict[str, Any], logprobs: list[dict[str, Any]] | None = None, reason: str | None = None
    ) -> bytes:
        choice = {"index": i, "delta": delta, "finish_reason": reason}
        choice["logprobs"] = {"content": logprobs} if logprobs else None
        chunk: dict[str, Any] = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        if self._request.with_usage:
            chunk["usage"] = None
        return event(chunk)


async def chat_completions(service: Service, http: Request) -> Response | ASGIApp:
    """Answer a conversation."""
    request = ChatRequest.read(await json_fields(http))
    model = await service.pool.text_model(request.model)
    answers = await service.continued(model, request)
    return await service.respond(http, answers, ChatAnswer(request, model, answers), stream=request.stream)
