"""`/v1/completions`: texts to be continued."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from time import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from ...chat_format.prompt import Prompt
from ...generation.events import Finished, Token
from ...generation.log_probabilities import ScoredToken
from ..answers import Answers
from ..forms import response_format
from ..http.body import json_fields
from ..http.errors import refused
from ..http.fields import Fields
from ..http.streams import event
from ..llamacpp.samplers import samplers_field
from ..options import HARMLESS, HINTS, MOST_CHOICES, MOST_LOGPROBS, Options, limit_field, sampling_fields, stop_field
from ..service import Service, new_id
from ..text_model import TextModel
from .chat import DONE, stream_usage
from .logprobs import CompletionLogprobs
from .usage import Usage

MOST_PROMPTS = 64
DEFAULT_TOKENS = 16  # as OpenAI documents it


@dataclass(slots=True)
class CompletionRequest:
    """A request, checked. A prompt is a text or a list of token ids."""

    model: str | None
    prompts: list[str | list[int]]
    options: Options
    echo: bool
    stream: bool
    with_usage: bool
    suffix: str

    @classmethod
    def read(cls, fields: Fields) -> CompletionRequest:
        """Raises ApiError that names the field which is wrong or not supported."""
        limit = limit_field(fields, "max_tokens", "n_predict", default=DEFAULT_TOKENS)
        options = Options(sampling_fields(fields) | samplers_field(fields), limit, stop_field(fields))
        options.n = fields.whole("n", 1, MOST_CHOICES) or 1
        options.logprobs = fields.whole("logprobs", 0, MOST_LOGPROBS)
        options.form = response_format(fields)
        fields.unless("best_of", [1, options.n], "must be n")
        request = cls(
            fields.text("model"),
            prompts_field(fields, "prompt", MOST_PROMPTS),
            options,
            fields.flag("echo"),
            fields.flag("stream"),
            stream_usage(fields),
            fields.text("suffix") or "",
        )
        if request.suffix and not all(isinstance(prompt, str) for prompt in request.prompts):
            raise refused("suffix", "cannot be combined with token ids")
        if request.suffix and request.echo:
            raise refused("echo", "cannot be combined with suffix")
        if request.echo and options.logprobs is not None:
            raise refused("echo", "cannot be combined with logprobs")
        fields.ignore(*HARMLESS, *HINTS)
        fields.done()
        return request


def prompts_field(fields: Fields, name: str, most: int) -> list[str | list[int]]:
    """A text, token ids, or a list of either."""
    value = fields.required(name)
    listed = value if isinstance(value, list) else [value]
    if listed and all(_is_id(item) for item in listed):
        listed = [listed]
    if not 0 < len(listed) <= most:
        raise refused(fields.place(name), f"must have 1 to {most} texts")
    for item in listed:
        ids = isinstance(item, list) and item and all(map(_is_id, item))
        if not isinstance(item, str) and not ids:
            raise refused(fields.place(name), "must be a string, token ids, or a list of either")
    return listed


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31


@dataclass(slots=True)
class Choice:
    """One of the answers, as far as it has come."""

    logprobs: CompletionLogprobs
    texts: list[str] = field(default_factory=list)
    tokens: list[ScoredToken] = field(default_factory=list)
    reason: str = "length"


class Completion:
    """The answers to a request while they are made: `n` for each prompt."""

    def __init__(self, request: CompletionRequest, model: TextModel, echoes: list[str], answers: Answers) -> None:
        self._request, self._model, self._answers, self._echoes = request, model, answers, echoes
        count = request.options.n * len(request.prompts)
        self._choices = [Choice(CompletionLogprobs(model.tokenizer)) for _ in range(count)]
        self._usages = [Usage() for _ in request.prompts]
        self._head = {"id": new_id("cmpl-"), "object": "text_completion", "created": int(time()), "model": model.name}

    async def whole(self) -> dict[str, Any]:
        """The body of a response that is not streamed."""
        async for i, got in self._answers:
            self._add(i, got)
        scored = self._request.options.logprobs is not None
        choices = [
            {
                "index": i,
                "text": self._echo(i) + "".join(choice.texts),
                "finish_reason": choice.reason,
                "logprobs": choice.logprobs.entries(choice.tokens) if scored else None,
            }
            for i, choice in enumerate(self._choices)
        ]
        return {**self._head, "choices": choices, "usage": self._usage()}

    async def pieces(self) -> AsyncIterator[bytes]:
        """The events of a stream."""
        for i in range(len(self._choices)) if self._request.echo else ():
            yield self._chunk(i, self._echo(i))
        async for i, got in self._answers:
            self._add(i, got)
            choice = self._choices[i]
            if isinstance(got, Finished):
                yield self._chunk(i, "", reason=choice.reason)
            elif choice.texts or choice.tokens:
                logprobs = choice.logprobs.entries(choice.tokens) if choice.tokens else None
                yield self._chunk(i, "".join(choice.texts), logprobs)
            choice.texts, choice.tokens = [], []
        if self._request.with_usage:
            yield event({**self._head, "choices": [], "usage": self._usage()})
        yield DONE

    def _add(self, i: int, got: Any) -> None:
        choice = self._choices[i]
        if isinstance(got, Token):
            choice.texts += [got.text] if got.text else []
            if isinstance(got, ScoredToken) and got.id not in self._model.tokenizer.stop_ids:
                choice.tokens.append(got)
        elif isinstance(got, Finished):
            self._usages[i // self._request.options.n].add(got)
            choice.reason = "stop" if got.reason == "stop" else "length"

    def _echo(self, i: int) -> str:
        return self._echoes[i // self._request.options.n] if self._request.echo else ""

    def _usage(self) -> dict[str, Any]:
        total = Usage()
        for usage in self._usages:
            total.prompt += usage.prompt
            total.completion += usage.completion
            total.cached += usage.cached
        return total.body()

    def _chunk(self, i: int, text: str, logprobs: Any = None, reason: str | None = None) -> bytes:
        choice = {"index": i, "text": text, "logprobs": logprobs, "finish_reason": reason}
        usage = {"usage": None} if self._request.with_usage else {}
        return event({**self._head, "choices": [choice], **usage})


async def completions(service: Service, http: Request) -> Response | ASGIApp:
    """Continue texts."""
    request = CompletionRequest.read(await json_fields(http))
    model = await service.pool.text_model(request.model)
    prompts: list[Prompt] = []
    for given in request.prompts:
        if not isinstance(given, str):
            prompts.append(model.ids_prompt(given))
        elif request.suffix:
            prompts.append(await model.fill_prompt(given, request.suffix))
        else:
            prompts.append(await model.plain_prompt(given))
    requests = await request.options.requests(model, prompts)
    echoes = [prompt.text or model.tokenizer.decode(prompt.ids) for prompt in prompts] if request.echo else []
    answers = service.answers(model, requests)
    return await service.respond(http, answers, Completion(request, model, echoes, answers), stream=request.stream)
