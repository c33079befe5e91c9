"""Who may ask: the checks before every request. Nothing is said about a prompt, and no other page may read answers."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...errors import BadFileError
from ...files.small_file import read_small_text
from ...text import escaped
from .body import MOST_BYTES
from .errors import ApiError, shape_of

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_FILE = 1 << 20  # bytes of a file of keys
KEY_LENGTH = 16  # characters of an API key at least
HEADER_BYTES, MOST_HEADERS = 16 << 10, 100
OPEN_PATHS = ("/", "/health")  # which hold nothing of a model's or a user's
ADDED = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]
Logged = Callable[[str, str, int, float], None]


def read_keys(path: Path) -> list[str]:
    """The API keys in a file, one a line. Raises NotFoundError, BadFileError."""
    where = escaped(str(path))
    lines = [line.strip() for line in read_small_text(path, MAX_FILE).splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys or any(len(key) < KEY_LENGTH or not key.isascii() or not key.isprintable() for key in keys):
        hint = f"write one key a line, of {KEY_LENGTH} or more ASCII characters"
        raise BadFileError(f"{where}: holds no usable API key", hint)
    return keys


@dataclass(frozen=True, slots=True)
class Access:
    """API keys, any of which opens the server, and the hosts by whose name it may be called; empty means all."""

    keys: Sequence[str] = ()
    hosts: Sequence[str] = LOOPBACK


class Guard:
    """Middleware. `logged` is called after each request: method, path of the route, status, seconds."""

    def __init__(self, app: ASGIApp, access: Access, logged: Logged) -> None:
        self._app, self._access, self._logged = app, access, logged

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began, status = perf_counter(), 499  # where the client leaves before an answer

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *ADDED]}
            await send(message)

        try:
            self._check(scope)
        except ApiError as error:
            body = error.body(shape_of(scope["path"]))
            await JSONResponse(body, error.status, error.headers)(scope, receive, sending)
        else:
            await self._app(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "-")
            self._logged(scope["method"], route, status, perf_counter() - began)

    def _check(self, scope: Scope) -> None:
        """Raises ApiError for a request that is not let in."""
        if scope["http_version"] not in ("1.0", "1.1"):
            raise ApiError(400, "only HTTP/1.1 is spoken here")
        size = sum(len(name) + len(value) for name, value in scope["headers"])
        if size > HEADER_BYTES or len(scope["headers"]) > MOST_HEADERS:
            raise ApiError(431, f"headers may have {HEADER_BYTES} bytes, and there may be {MOST_HEADERS}")
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        for name in (b"host", b"origin", b"authorization", b"x-api-key", b"content-length", b"content-type"):
            if len(headers.get(name, ())) > 1:
                raise ApiError(400, f"the header {name.decode()} is there twice")
        one = {name: values[0].decode("latin-1") for name, values in headers.items()}
        host = one.get(b"host", "")
        if self._access.hosts and _name(f"//{host}") not in self._access.hosts:
            raise ApiError(403, "the Host header names another machine than the server was started for")
        origin = one.get(b"origin")
        if origin is not None and (not host or _netloc(origin) != host.lower()):
            raise ApiError(403, "pages of other origins may not use this server")
        if b"content-length" in one and b"transfer-encoding" in one:
            raise ApiError(400, "a body has a length or comes in chunks, not both")
        length = one.get(b"content-length", "0")
        if not length.isdecimal() or int(length[:20]) > MOST_BYTES:
            raise ApiError(413, f"the body has more than {MOST_BYTES} bytes")
        if self._access.keys and scope["path"] not in OPEN_PATHS:
            self._check_key(one)

    def _check_key(self, headers: dict[bytes, str]) -> None:
        scheme, _, token = headers.get(b"authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get(b"x-api-key", "")
        found = [hmac.compare_digest(given.encode(), key.encode()) for key in self._access.keys]  # all of them
        if not any(found):
            raise ApiError(401, "a valid API key is needed: Authorization: Bearer KEY", None, "invalid_api_key")


def _name(url: str) -> str | None:
    """The name or address of a host, without its port."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _netloc(origin: str) -> str | None:
    """Host and port of an origin, None for what is none."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
