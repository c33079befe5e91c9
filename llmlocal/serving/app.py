"""All routes, and what happens around each: errors become answers in the form of the route's protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .anthropic.messages import count_tokens, messages
from .http.errors import ApiError, ClientGoneError, as_api_error, shape_of
from .http.guard import Access, Guard, Logged
from .llamacpp.infill import infill
from .llamacpp.tokens import apply_template, detokenize, tokenize
from .ollama.generate import chat, generate
from .ollama.models import running, show, tags, version
from .ollama.vectors import embed
from .ollama.vectors import embeddings as ollama_embeddings
from .openai.chat import chat_completions
from .openai.completions import completions
from .openai.models import models, one_model
from .openai.responses import responses
from .openai.vectors import embeddings, rerank
from .page import page
from .service import Service

Endpoint = Callable[[Service, Request], Awaitable[Any]]


async def health(service: Service, http: Request) -> Response:
    """Whether the server is there."""
    return JSONResponse({"status": "ok"})


async def metrics(service: Service, http: Request) -> Response:
    """Counters for Prometheus."""
    values = [(model.name, model.values()) for model in service.pool.loaded()]
    text = service.metrics.text((name, value) for name, value in values if value)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


ROUTES: tuple[tuple[str, str, Endpoint], ...] = (
    ("GET", "/", page),
    ("GET", "/health", health),
    ("GET", "/metrics", metrics),
    ("GET", "/v1/models", models),
    ("GET", "/v1/models/{name:path}", one_model),
    ("POST", "/v1/chat/completions", chat_completions),
    ("POST", "/v1/completions", completions),
    ("POST", "/v1/responses", responses),
    ("POST", "/v1/embeddings", embeddings),
    ("POST", "/v1/rerank", rerank),
    ("POST", "/v1/messages", messages),
    ("POST", "/v1/messages/count_tokens", count_tokens),
    ("POST", "/api/chat", chat),
    ("POST", "/api/generate", generate),
    ("POST", "/api/embed", embed),
    ("POST", "/api/embeddings", ollama_embeddings),
    ("GET", "/api/tags", tags),
    ("GET", "/api/ps", running),
    ("POST", "/api/show", show),
    ("GET", "/api/version", version),
    ("POST", "/infill", infill),
    ("POST", "/tokenize", tokenize),
    ("POST", "/detokenize", detokenize),
    ("POST", "/apply-template", apply_template),
)


class Endpointed:
    """An endpoint as an ASGI application."""

    def __init__(self, service: Service, endpoint: Endpoint) -> None:
        self._service, self._endpoint = service, endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response: ASGIApp = await self._endpoint(self._service, Request(scope, receive))
        except ClientGoneError:
            return
        except Exception as error:
            known = as_api_error(error)
            if known.status >= 500:
                self._service.failed(error)
            response = JSONResponse(known.body(shape_of(scope["path"])), known.status, known.headers)
        await response(scope, receive, send)


def application(service: Service, access: Access, logged: Logged) -> ASGIApp:
    """The server as an ASGI application. `logged` gets method, route, status and seconds of each request."""

    async def wrong_route(http: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        said = ApiError(status, f"{http.method} is not allowed here" if status == 405 else "there is no such path")
        return JSONResponse(said.body(shape_of(http.url.path)), status)

    def count(method: str, route: str, status: int, seconds: float) -> None:
        service.metrics.request(route, status, seconds)
        logged(method, route, status, seconds)

    routes = [Route(path, Endpointed(service, endpoint), methods=[method]) for method, path, endpoint in ROUTES]
    app = Starlette(routes=routes, exception_handlers={HTTPException: wrong_route})
    return Guard(app, access, count)
