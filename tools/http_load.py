"""Many HTTP requests at once by one thread, which keeps what comes for later: it must not take the server's cores.

`bench_serve.py` measures with it. Sixteen threads that read events line by line took as much of a small machine as the
server's own loop.
"""

from __future__ import annotations

import re
import selectors
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

PATIENCE = 600  # seconds without a byte of any response
READ = 1 << 16
TEXT = re.compile(rb'content": ?"[^"]')  # the first text of an answer, or of a thought


@dataclass(slots=True)
class Exchange:
    """A request as bytes, and what came back: `first` and `whole` are seconds from the request on, 0 before."""

    request: bytes
    came: bytearray = field(default_factory=bytearray)
    began: float = 0.0
    first: float = 0.0
    whole: float = 0.0
    error: str = ""

    @property
    def status(self) -> int:
        """Of the response; 0 where there is none."""
        words = bytes(self.came[:32]).split(b" ")
        return int(words[1]) if len(words) > 2 and words[1].isdigit() else 0

    @property
    def body(self) -> bytes:
        """Of the response, without the sizes of its chunks. Raises ValueError for one that was cut."""
        head, _, rest = bytes(self.came).partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" not in head.lower():
            return rest
        chunks = list[bytes]()
        while (size := int(rest[: rest.index(b"\r\n")], 16)) > 0:
            start = rest.index(b"\r\n") + 2
            chunks.append(rest[start : start + size])
            rest = rest[start + size + 2 :]
        return b"".join(chunks)


def exchange(address: tuple[str, int], requests: Sequence[bytes], clients: int) -> list[Exchange]:
    """Send all requests, `clients` of them at once, each over a connection of its own that the server closes."""
    exchanges = [Exchange(request) for request in requests]
    waiting = deque(exchanges)
    with selectors.DefaultSelector() as selector:
        for one in _taken(waiting, clients):
            _begin(selector, address, one)
        while selector.get_map():
            ready = selector.select(PATIENCE)
            for key, _ in ready or [(key, 0) for key in [*selector.get_map().values()]]:
                if not _read(key.fileobj, key.data, patient=bool(ready)):  # type: ignore[arg-type]
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
                    for one in _taken(waiting, 1):
                        _begin(selector, address, one)
    return exchanges


def _taken(waiting: deque[Exchange], n: int) -> Iterator[Exchange]:
    while waiting and n:
        n -= 1
        yield waiting.popleft()


def _begin(selector: selectors.BaseSelector, address: tuple[str, int], one: Exchange) -> None:
    one.began = perf_counter()
    try:
        connection = socket.create_connection(address, PATIENCE)
        connection.sendall(one.request)
    except OSError as error:
        one.error = str(error)
        return
    connection.setblocking(False)
    selector.register(connection, selectors.EVENT_READ, one)


def _read(connection: socket.socket, one: Exchange, *, patient: bool) -> bool:
    """Take what has come; whether more may come."""
    try:
        data = connection.recv(READ) if patient else b""
        one.error = "" if patient else "timed out"
    except BlockingIOError:
        return True
    except OSError as error:
        data, one.error = b"", str(error)
    now = perf_counter() - one.began
    if not data:
        one.whole = now
        return False
    one.came += data
    if not one.first and TEXT.search(data):
        one.first = now
    return True
