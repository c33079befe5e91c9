"""Server-sent events: a response that comes in pieces, for as long as somebody reads it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from .body import while_connected
from .errors import ApiError, ClientGoneError, as_api_error

PATIENCE = 60.0  # seconds in which a client must take what was sent
EVENTS = "text/event-stream; charset=utf-8"
LINES = "application/x-ndjson"
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class EventStream:
    """An ASGI response of `pieces`. What fails after it has begun is told by `describe`, as the last piece.

    Pieces that come while `ready` says that the next one is there go together. `close` is called at the end, whichever
    way it comes.
    """

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        describe: Callable[[ApiError], bytes],
        close: Callable[[], None],
        failed: Callable[[Exception], None],
        ready: Callable[[], bool],
        kind: str = EVENTS,
    ) -> None:
        self._pieces, self._describe, self._close, self._failed, self._kind = pieces, describe, close, failed, kind
        self._ready = ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", self._kind.encode()), (b"x-accel-buffering", b"no")]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await while_connected(receive, self._send_all(send))
        except ClientGoneError:
            pass
        finally:
            self._close()

    async def _send_all(self, send: Send) -> None:
        held = bytearray()
        try:
            async for piece in self._pieces:
                held += piece
                if not self._ready():
                    await self._send(send, bytes(held))
                    held.clear()
        except ClientGoneError:
            raise
        except Exception as error:
            known = as_api_error(error)
            if known.status >= 500:
                self._failed(error)
            held += self._describe(known)
        await self._send(send, bytes(held), more=False)

    async def _send(self, send: Send, piece: bytes, *, more: bool = True) -> None:
        try:
            async with asyncio.timeout(PATIENCE):  # wait_for of Python 3.11 may swallow that it is cancelled
                await send({"type": "http.response.body", "body": piece, "more_body": more})
        except TimeoutError:
            raise ClientGoneError from None


def compact(value: Any) -> str:
    """A value as JSON on one line."""
    return _encode(value)


def event(value: Any, name: str | None = None) -> bytes:
    """One event whose data is `value` as JSON."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {compact(value)}\n\n".encode()


def error_event(error: ApiError) -> bytes:
    """An error within a stream, as OpenAI writes it."""
    return event(error.body("openai"))


def comment(text: str) -> bytes:
    """A line that clients pass over: it keeps a connection alive."""
    return f": {text}\n\n".encode()
