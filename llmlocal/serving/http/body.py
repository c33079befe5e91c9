"""The body of a request, and the client that may leave before it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive

from .errors import ApiError, ClientGoneError
from .fields import Fields, parsed

MOST_BYTES = 8 << 20
PATIENCE = 30.0  # seconds in which a body must have come
T = TypeVar("T")


async def json_fields(request: Request) -> Fields:
    """The fields of a body of JSON. Raises ApiError for what is none, is too large, or does not come in time."""
    if not _may_be_json(request.headers):
        raise ApiError(415, "Content-Type must be application/json")
    try:
        async with asyncio.timeout(PATIENCE):
            data = await _body(request)
    except TimeoutError:
        raise ApiError(408, "the body of the request did not come in time") from None
    return await asyncio.to_thread(parsed, data) if len(data) > 1 << 16 else parsed(data)


def _may_be_json(headers: Headers) -> bool:
    """Whether a body is said to be JSON. Programs may say nothing, pages of browsers may not: no form is read."""
    kind = headers.get("content-type")
    if kind is None:
        return "origin" not in headers and "sec-fetch-site" not in headers
    return kind.partition(";")[0].strip().lower() == "application/json"


async def _body(request: Request) -> bytes:
    data = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        data += message.get("body", b"")
        if len(data) > MOST_BYTES:
            raise ApiError(413, f"the body has more than {MOST_BYTES} bytes")
        if not message.get("more_body", False):
            return bytes(data)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves: then ClientGoneError is raised."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
