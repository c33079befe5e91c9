"""`/infill`: text between a beginning and an end, as editors ask llama.cpp's server for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from ...generation.events import Finished, Token
from ..answers import Answers
from ..http.body import json_fields
from ..http.fields import Fields
from ..http.streams import event
from ..options import HARMLESS, HINTS, Options, limit_field, sampling_fields, stop_field
from ..service import Service
from ..text_model import TextModel

MOST_FILES = 64


class Filling:
    """An answer while it is made."""

    def __init__(self, model: TextModel, answers: Answers) -> None:
        self._model, self._answers = model, answers

    async def whole(self) -> dict[str, Any]:
        """The body of a response that is not streamed."""
        texts: list[str] = []
        body: dict[str, Any] = {}
        async for _, got in self._answers:
            texts += [got.text] if isinstance(got, Token) else []
            body = self._ended(got) if isinstance(got, Finished) else body
        return {**body, "content": "".join(texts)}

    async def pieces(self) -> AsyncIterator[bytes]:
        """The events of a stream."""
        async for _, got in self._answers:
            if isinstance(got, Token) and got.text:
                yield event({"content": got.text, "stop": False})
            elif isinstance(got, Finished):
                yield event(self._ended(got))

    def _ended(self, end: Finished) -> dict[str, Any]:
        kind = "limit" if end.reason != "stop" else "word" if end.stop_string else "eos"
        return {
            "content": "",
            "stop": True,
            "model": self._model.name,
            "stop_type": kind,
            "stopping_word": end.stop_string or "",
            "tokens_evaluated": end.prompt_tokens,
            "tokens_cached": end.reused_tokens,
            "tokens_predicted": end.generated_tokens,
        }


def _files(fields: Fields) -> list[tuple[str, str]]:
    found = []
    for file in fields.objects("input_extra", MOST_FILES):
        found.append((file.text("filename") or "", file.required_text("text")))
        file.ignore("time")
        file.done()
    return found


async def infill(service: Service, http: Request) -> Response | ASGIApp:
    """Fill in the middle."""
    fields = await json_fields(http)
    before, after = fields.text("input_prefix") or "", fields.text("input_suffix") or ""
    before += fields.text("prompt") or ""
    files, name, stream = _files(fields), fields.text("model"), fields.flag("stream")
    options = Options(sampling_fields(fields), limit_field(fields, "n_predict"), stop_field(fields))
    fields.ignore(*HARMLESS, *HINTS, "samplers")  # one of its own is for this alone
    fields.done()
    model = await service.pool.text_model(name)
    prompt = await model.fill_prompt(before, after, files)
    answers = service.answers(model, await options.requests(model, [prompt]))
    return await service.respond(http, answers, Filling(model, answers), stream=stream)
