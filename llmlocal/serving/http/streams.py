"""Server-sent events: a response that comes in pieces, for as long as somebody reads it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from .body import while_connected
from .errors import ApiError, ClientGoneError, as_api_error

PATIENCE = 60.0  # seconds in which a client must take what was sent, and up to a quarter more
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
        async with Patience() as patience:
            try:
                async for piece in self._pieces:
                    held += piece
                    if not self._ready():
                        await patience.wait_for(send(_body(held, more=True)))
                        held.clear()
            except Exception as error:
                known = as_api_error(error)
                if known.status >= 500:
                    self._failed(error)
                held += self._describe(known)
            await patience.wait_for(send(_body(held, more=False)))


class Patience:
    """Waits for sends, one after the other; raises ClientGoneError at its end where one of them took too long.

    It has one timer for all of them: to set one for each took a sixth of the loop's time.
    """

    def __init__(self) -> None:
        self._limit, self._loop = asyncio.timeout(None), asyncio.get_running_loop()
        self._since: float | None = None  # when the send began that is waited for
        self._timer = self._loop.call_later(PATIENCE / 4, self._look)

    async def __aenter__(self) -> Patience:
        await self._limit.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        self._timer.cancel()
        try:
            await self._limit.__aexit__(kind, *rest)
        except TimeoutError:
            raise ClientGoneError from None

    async def wait_for(self, sent: Awaitable[None]) -> None:
        """Wait for a send."""
        self._since = self._loop.time()
        await sent
        self._since = None

    def _look(self) -> None:
        now = self._loop.time()
        if self._since is not None and now >= self._since + PATIENCE:
            self._limit.reschedule(now)
        else:
            self._timer = self._loop.call_later(PATIENCE / 4, self._look)


def _body(data: bytearray, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": bytes(data), "more_body": more}


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
