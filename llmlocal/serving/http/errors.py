"""Errors as clients of each protocol expect them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ...chat_format.chat_template import TemplateStoppedError
from ...errors import LlmlocalError, NotFoundError, PromptTooLongError, ResourceError, UsageError
from ...scheduler.request import QueueFullError

Protocol = Literal["openai", "anthropic", "ollama"]
KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    415: "invalid_request_error",
    431: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
RETRY_AFTER = 1  # seconds


class ApiError(Exception):
    """An answer other than success. `param` is the field that is wrong, `code` a word for programs.

    With `detailed` clients of Anthropic get the code, too: they act on some.
    """

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None, *, detailed: bool = False
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.detailed = status, param, code, detailed

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response."""
        return {"retry-after": str(RETRY_AFTER)} if self.status in (429, 503) else {}

    def body(self, protocol: Protocol) -> dict[str, Any]:
        """The body of the response."""
        kind, message = KINDS.get(self.status, "api_error"), str(self)
        if protocol == "anthropic":
            details = {"details": {"error_code": self.code}} if self.detailed else {}
            return {"type": "error", "error": {"type": kind, "message": message, **details}}
        if protocol == "ollama":
            return {"error": message}
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.code}}


class ClientGoneError(Exception):
    """The client has closed the connection; nobody reads an answer."""


def refused(param: str, message: str, code: str | None = None) -> ApiError:
    """The field `param` is wrong."""
    return ApiError(400, f"{param}: {message}", param, code)


def as_api_error(error: Exception) -> ApiError:
    """`error` as clients see it. Internal errors are not described."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, PromptTooLongError):
        return ApiError(400, _said(error), "messages", "context_length_exceeded")
    if isinstance(error, QueueFullError):
        return ApiError(429, _said(error), None, "queue_full")
    for kinds, status in (((UsageError, TemplateStoppedError), 400), (NotFoundError, 404), (ResourceError, 503)):
        if isinstance(error, kinds):
            return ApiError(status, _said(error))
    return ApiError(500, "the server failed to answer; its own output says why")


def _said(error: LlmlocalError) -> str:
    return f"{error} ({error.hint})" if error.hint else str(error)


def shape_of(path: str) -> Protocol:
    """The protocol that a path belongs to."""
    shapes: Mapping[str, Protocol] = {"/v1/messages": "anthropic", "/api/": "ollama"}
    return next((shape for start, shape in shapes.items() if path.startswith(start)), "openai")
