"""The server's life: a socket, uvicorn on it, and an end that lets answers finish."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from ...errors import ResourceError, UsageError
from ..model_pool import ModelPool
from .guard import HEADER_BYTES, LOOPBACK

HEADER_PATIENCE = 15.0  # seconds in which the headers of a request must have come
KEEP_ALIVE = 15  # seconds that an unused connection is kept
CONNECTIONS = 512
BACKLOG = 128
IDLE_CHECK = 5.0  # seconds from one look for unused models to the next


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that closes connections whose next request does not come in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEADER_PATIENCE, self._close_if_slow)

    def data_received(self, data: bytes) -> None:
        busy = self._is_busy()
        super().data_received(data)
        if not busy and not self._is_busy() and self._timer.cancelled():
            self._timer = self.loop.call_later(HEADER_PATIENCE, self._close_if_slow)
        elif self._is_busy():
            self._timer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _close_if_slow(self) -> None:
        if not self._is_busy() and not self.transport.is_closing():
            self.transport.close()


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UsageError for a host that is none, ResourceError where the port is taken."""
    try:
        (family, *_, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UsageError(f"{host} is not an address of this machine", "use --host 127.0.0.1") from None
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise ResourceError(f"cannot listen on {host}:{port}: {error.strerror}", "choose another --port") from None
    return made


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server on `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name, which may be any machine's
        return host in LOOPBACK


class Server(uvicorn.Server):
    """Serves an application until `stop`, then lets requests end for `grace` seconds, and closes the models."""

    def __init__(self, app: ASGIApp, pool: ModelPool, grace: float, ready: Callable[[], None] = lambda: None) -> None:
        """`ready` is called when the first model is loaded, and requests are answered."""
        super().__init__(
            uvicorn.Config(
                app,
                http=PatientProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=HEADER_BYTES,
                limit_concurrency=CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=round(grace),
            )
        )
        self._pool, self._ready = pool, ready
        logging.getLogger("uvicorn").addHandler(logging.NullHandler())

    def run_on(self, listener: socket.socket) -> None:
        """Serve on a socket that listens, until `stop` is called or, in the main thread, a signal comes.

        Loads the first model before; raises what that raises.
        """
        try:
            self._pool.load_first()
            asyncio.run(self._main(listener))
        finally:
            self._pool.close()

    def stop(self) -> None:
        """End: the first time gracefully, then at once. May be called by any thread."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM stop the server; uvicorn's own handlers would raise them again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, lambda *_: self.stop()) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def _main(self, listener: socket.socket) -> None:
        self._ready()
        idle = asyncio.ensure_future(self._unload_idle())
        try:
            await self.serve([listener])
        finally:
            idle.cancel()
            with suppress(asyncio.CancelledError):
                await idle

    async def _unload_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_CHECK)
            await self._pool.unload_idle()
