"""A hub on loopback: a real HTTP server that answers what the hub's own library asks, and misbehaves by script.

`faults` are taken one for each request for bytes; what is left over when they run out is honest. All requests are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

Fault = Callable[["Handler", "Blob", int], None]
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Blob:
    """Bytes in memory, or a file that is sent by the system."""

    data: bytes | Path
    lfs: bool = True

    @property
    def size(self) -> int:
        return self.data.stat().st_size if isinstance(self.data, Path) else len(self.data)

    def digest(self) -> str:
        data = self.data.read_bytes() if isinstance(self.data, Path) else self.data
        return (
            hashlib.sha256(data).hexdigest() if self.lfs else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        )


@dataclass
class Repository:
    files: dict[str, Blob]
    commit: str
    card: dict[str, object] = field(default_factory=dict)
    gated: bool = False
    renamed_to: str | None = None
    digests: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.digests = {name: blob.digest() for name, blob in self.files.items()} | self.digests


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]

    @property
    def first(self) -> int:
        """First byte that was asked for."""
        match = _RANGE.fullmatch(self.headers.get("range", ""))
        return int(match[1]) if match else 0


class FakeHub:
    """One server: the hub, and behind its redirects the place where the bytes are."""

    def __init__(self, *, cdn: str = "") -> None:
        hub = self
        self.repos: dict[str, Repository] = {}
        self.blobs: dict[str, Blob] = {}
        self.requests: list[Request] = []
        self.faults: list[Fault | None] = []
        self.api_faults: list[int | Callable[[Handler], None]] = []
        handler = type("Bound", (Handler,), {"hub": hub})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        # Where the bytes lie: another server, or this one by another name, which makes it another origin.
        self.cdn = cdn or self.url.replace("127.0.0.1", "localhost")
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def add(
        self, repo: str, files: dict[str, bytes | Path], *, commit: str = "a" * 40, lfs: bool = True, **more: object
    ) -> Repository:
        blobs = {name: Blob(data, lfs) for name, data in files.items()}
        held = self.repos[repo] = Repository(blobs, commit, **more)  # type: ignore[arg-type]
        for name, blob in blobs.items():
            self.blobs[held.digests[name]] = blob
        return held

    def asked_for_bytes(self) -> list[Request]:
        """Requests that reached the place where the bytes are."""
        return [request for request in self.requests if request.path.startswith("/cdn/")]


@contextmanager
def running(**more: str) -> Iterator[FakeHub]:
    hub = FakeHub(**more)
    try:
        yield hub
    finally:
        hub.close()


class Handler(BaseHTTPRequestHandler):
    """A request. `hub` is filled in by the server."""

    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_CONNECT(self) -> None:
        """As a proxy that wants another login."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append(Request(self.command, self.path, headers))
        self.answer(407)

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append(Request(self.command, self.path, headers))
        path = urlsplit(self.path).path
        if path.startswith("/api/models/"):
            self._info(path)
        elif path.startswith("/cdn/"):
            self._bytes(self.hub.blobs.get(path.split("/")[2]))
        elif "/resolve/" in path:
            self._resolve(path)
        else:
            self.answer(404)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _repo(self, name: str) -> Repository | None:
        """The repository, or None after it was said why not."""
        if self.hub.api_faults:
            fault = self.hub.api_faults.pop(0)
            self.answer(fault) if isinstance(fault, int) else fault(self)
            return None
        repo = self.hub.repos.get(name)
        if repo is None:
            self.answer(401, X_Error_Code="RepoNotFound")
        elif repo.renamed_to:
            self.answer(307, Location=self.path.replace(name, repo.renamed_to))
        elif repo.gated and "authorization" not in {n.lower() for n in self.headers}:
            self.answer(401, X_Error_Code="GatedRepo")
        else:
            return repo
        return None

    def _info(self, path: str) -> None:
        name, _, revision = path.removeprefix("/api/models/").partition("/revision/")
        if (repo := self._repo(name)) is None:
            return
        if unquote(revision) not in ("", "main", "v1", repo.commit):
            return self.answer(404, X_Error_Code="RevisionNotFound")
        siblings = []
        for file, blob in repo.files.items():
            digest = repo.digests[file]
            lfs = {"lfs": {"size": blob.size, "sha256": digest, "pointerSize": 134}} if blob.lfs else {}
            siblings.append({"rfilename": file, "size": blob.size, "blobId": "b" * 40 if blob.lfs else digest, **lfs})
        info = {
            "id": name,
            "modelId": name,
            "sha": repo.commit,
            "siblings": siblings,
            "cardData": repo.card,
            "tags": [],
        }
        self.answer(200, json.dumps(info).encode(), Content_Type="application/json")

    def _resolve(self, path: str) -> None:
        name, _, rest = path[1:].partition("/resolve/")
        if (repo := self._repo(name)) is None:
            return
        file = unquote(rest.partition("/")[2])
        if file not in repo.files:
            return self.answer(404, X_Error_Code="EntryNotFound")
        digest = repo.digests[file]
        self.answer(
            302,
            Location=f"{self.hub.cdn}/cdn/{digest}?signature=1",
            X_Repo_Commit=repo.commit,
            X_Linked_Etag=f'"{digest}"',
            X_Linked_Size=str(repo.files[file].size),
            ETag=f'"{digest}"',
        )

    def _bytes(self, blob: Blob | None) -> None:
        if blob is None:
            return self.answer(404)
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        first = int(match[1]) if match else 0
        fault = self.hub.faults.pop(0) if self.hub.faults else None
        if fault:
            fault(self, blob, first)
        else:
            self.send(blob, first, int(match[2]) if match and match[2] else None)

    def send(self, blob: Blob, first: int, last: int | None = None) -> None:
        """The honest answer."""
        if first >= blob.size:
            return self.answer(416, Content_Range=f"bytes */{blob.size}")
        end = min(blob.size, last + 1 if last is not None else blob.size)
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", str(end - first))
        self.send_header("ETag", '"some-other-etag"')
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{blob.size}")
        self.end_headers()
        self.body(blob, first, end)

    def body(self, blob: Blob, first: int, end: int) -> None:
        self.wfile.flush()
        if isinstance(blob.data, bytes):
            self.connection.sendall(memoryview(blob.data)[first:end])
            return
        with open(blob.data, "rb") as file:
            while first < end:
                first += os.sendfile(self.connection.fileno(), file.fileno(), first, end - first)

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):  # the client was killed
            self.close_connection = True


# ---- ways to fail -------------------------------------------------------------------------------------------------


def status(code: int, **headers: str) -> Fault:
    return lambda handler, blob, first: handler.answer(code, b"no", **headers)


def drop(after: int, *, reset: bool = False) -> Fault:
    """Promise all, send `after` bytes, and hang up."""

    def fault(handler: Handler, blob: Blob, first: int) -> None:
        handler.send_response(206 if first else 200)
        handler.send_header("Content-Length", str(blob.size - first))
        handler.send_header("Content-Range", f"bytes {first}-{blob.size - 1}/{blob.size}")
        handler.end_headers()
        handler.body(blob, first, min(blob.size, first + after))
        if reset:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close() if reset else handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    return fault


def content_range(text: str) -> Fault:
    """206 with a Content-Range of our choice: {first}, {last}, {size} are filled in."""

    def fault(handler: Handler, blob: Blob, first: int) -> None:
        handler.send_response(206)
        handler.send_header("Content-Length", str(blob.size - first))
        if text:
            handler.send_header(
                "Content-Range", text.format(first=first, last=blob.size - 1, size=blob.size, off=first + 1)
            )
        handler.end_headers()
        handler.body(blob, first, blob.size)

    return fault


def ignore_range(handler: Handler, blob: Blob, first: int) -> None:
    """200 and the whole file."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(blob.size))
    handler.end_headers()
    handler.body(blob, 0, blob.size)


def other_bytes(change: Callable[[bytes], bytes]) -> Fault:
    """An answer of the right form with other bytes."""

    def fault(handler: Handler, blob: Blob, first: int) -> None:
        assert isinstance(blob.data, bytes)
        data = change(blob.data)
        Handler.send(handler, Blob(data), first)

    return fault


def flip(at: int) -> Fault:
    return other_bytes(lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def slow(pieces: int, pause: float) -> Fault:
    """The right bytes, in pieces."""

    def fault(handler: Handler, blob: Blob, first: int) -> None:
        handler.send_response(206)
        handler.send_header("Content-Length", str(blob.size - first))
        handler.send_header("Content-Range", f"bytes {first}-{blob.size - 1}/{blob.size}")
        handler.end_headers()
        step = -(-(blob.size - first) // pieces)
        for at in range(first, blob.size, step):
            handler.body(blob, at, min(blob.size, at + step))
            time.sleep(pause)

    return fault


def silent(handler: Handler, blob: Blob, first: int) -> None:
    """Nothing at all, until the client gives up."""
    handler.connection.settimeout(10)
    with suppress(OSError):
        handler.connection.recv(1)
    handler.close_connection = True


def chunked(handler: Handler, blob: Blob, first: int) -> None:
    """The whole file without a Content-Length."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    assert isinstance(blob.data, bytes)
    for at in range(0, blob.size, 5000):
        piece = blob.data[at : at + 5000]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    handler.wfile.write(b"0\r\n\r\n")


def redirect(to: str) -> Fault:
    return lambda handler, blob, first: handler.answer(302, Location=to)


def garbage(handler: Handler, blob: Blob, first: int) -> None:
    """No HTTP."""
    handler.connection.sendall(b"\x00\xff\x00 hello\r\n\r\n")
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


# ---- ways in which an answer of the API burns time or memory --------------------------------------------------------


def pour(head: bytes, piece: bytes, pause: float = 0.0) -> Callable[[Handler], None]:
    """Bytes after the status line, then a piece again and again until the client hangs up."""

    def fault(handler: Handler) -> None:
        handler.close_connection = True
        with suppress(OSError):
            handler.connection.sendall(head)
            for _ in range(1 << 20):
                handler.connection.sendall(piece)
                time.sleep(pause)

    return fault


def body(data: bytes, **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(200, data, **headers)
