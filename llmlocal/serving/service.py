"""What all endpoints share: the models, the metrics, and what is told to whoever runs the server."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from ..generation.events import Finished
from ..scheduler.request import Request
from .answers import Answers
from .calling import Calling
from .http.body import while_connected
from .http.errors import ApiError, refused
from .http.streams import EVENTS, EventStream, error_event
from .metrics import Metrics
from .model_pool import ModelPool
from .options import Options
from .text_model import TextModel


class WrittenAnswer(Protocol):
    """The answer to a request as its protocol writes it, while it is made."""

    async def whole(self) -> dict[str, Any]:
        """The body of a response that is not streamed."""

    def pieces(self) -> AsyncIterator[bytes]:
        """The pieces of a stream."""


@dataclass(slots=True)
class Conversation:
    """What a request asks: to continue `messages`, with which functions and how. `model` None is the server's own."""

    model: str | None
    messages: list[dict[str, Any]]
    calling: Calling
    options: Options


@dataclass(slots=True)
class Service:
    """A running server. `failed` is called with errors that are no client's fault, `told` with lines for its log."""

    pool: ModelPool
    failed: Callable[[Exception], None] = lambda _: None
    told: Callable[[str], None] = lambda _: None
    metrics: Metrics = field(default_factory=Metrics)

    def answers(self, model: TextModel, requests: Sequence[Request]) -> Answers:
        """The answers to requests. Raises what `Scheduler.submit` raises, ApiError for more than it ever takes."""
        room = model.scheduler.room
        if len(requests) > room:
            raise refused("n", f"{len(requests)} answers are asked for, and this server takes {room} at once")

        def ended(end: Finished) -> None:
            if end.read_again:
                lost = "sliding windows no longer reach back to them"
                self.told(f"{model.name}: {end.read_again} tokens of a prompt were read again ({lost})")

        return Answers(model.scheduler, model.outbox, requests, self.metrics, ended)

    async def continued(self, model: TextModel, asked: Conversation) -> Answers:
        """The answers to a conversation. Raises what `answers`, `chat_prompt` and `requests` raise."""
        options, calls = asked.options, await asked.calling.calls(model)
        prompt = await model.chat_prompt(asked.messages, asked.calling.tools, options.think, options.effort)
        return self.answers(model, await options.requests(model, [prompt], calls))

    async def respond(
        self,
        http: HttpRequest,
        answers: Answers,
        written: WrittenAnswer,
        describe: Callable[[ApiError], bytes] = error_event,
        kind: str = EVENTS,
        *,
        stream: bool,
    ) -> Response | ASGIApp:
        """The response: a stream of type `kind`, whose errors `describe` writes, or the whole answer when it is made.

        `answers` are closed at the end, whichever way it comes. Raises what an answer raises, and ClientGoneError.
        """
        if stream:
            return EventStream(written.pieces(), describe, answers.close, self.failed, lambda: answers.ready, kind)
        with closing(answers):
            return JSONResponse(await while_connected(http.receive, written.whole()))


def new_id(prefix: str) -> str:
    """An id that no other answer has."""
    return f"{prefix}{secrets.token_hex(12)}"
