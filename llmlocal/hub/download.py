"""Downloads one file: resumable range requests, verified by checksum before the file gets its name.

`store` decides where files go and holds the lock against concurrent downloads.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from io import FileIO
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

from ..errors import BadFileError, NetworkError, ResourceError
from ..files.content_digest import keep_digest
from ..files.disk import FULL
from ..files.page_cache import give_back
from ..text import escaped, format_bytes
from .remote_file import DownloadProgress, Notify, RemoteFile, hasher
from .transport import HEADER_SECONDS, TransientError, opened

RETRIES, BACKOFF = 5, 1.0  # failures in a row without progress; seconds before the first retry, doubled each time
PROGRESS = 1 << 20  # bytes received after which the count of failures starts again
LEAST_SPEED = 16 << 10  # bytes a second at which the header of a remote model must arrive
CHUNK, FLUSH = 1 << 20, 32 << 20
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")


class DownloadSource(NamedTuple):
    """A URL at the hub, headers for every host it redirects to, and token headers for the hub only."""

    url: str
    headers: dict[str, str]
    token: dict[str, str]

    def read(self, first: int, count: int) -> bytes:
        """`count` bytes at offset `first`, fewer at the end of the file, within a time that slow networks keep.

        Raises NetworkError, NotFoundError.
        """
        failures, last, seconds = 0, first + count - 1, HEADER_SECONDS + (first + count) / LEAST_SPEED
        while True:
            try:
                with opened(self.url, self.headers, self.token, first=first, last=last, seconds=seconds) as answer:
                    if answer.status == 416:
                        return b""
                    skip = first if answer.status == 200 else 0  # the server ignored the range
                    if answer.status == 206:
                        _check_range(answer, first, None)
                    return answer.read(skip + count)[skip:]
            except TransientError as error:
                failures = _wait(error, failures)


def fetch(file: RemoteFile, source: DownloadSource, partial: Path, target: Path, notify: Notify) -> None:
    """Download `file` to `target`, resuming from `partial`; `target` appears only with the right checksum.

    Raises NetworkError, NotFoundError, BadFileError where the checksum is wrong twice, ResourceError for a full disk.
    """
    for last_try in (False, True):
        with _opened_partial(partial) as out:
            with _Flusher(out.fileno()) as flusher:
                transfer = _Transfer(file, source, out, flusher, notify)
                transfer.run()
            verified = transfer.digest() == file.digest
            if verified:
                os.fsync(out.fileno())
                give_back(out.fileno())
        if verified:
            os.replace(partial, target)
            if len(file.digest) == 64:  # a SHA-256
                keep_digest(os.stat(target), file.digest)
            return
        partial.unlink()
        if not last_try:
            notify(f"{file.name}: checksum mismatch; downloading it again")
    raise BadFileError(f"{escaped(file.name)}: checksum mismatch, twice", "pull again later")


class _Transfer:
    """State of one download: the first `done` bytes are in `out` and hashed."""

    def __init__(
        self, file: RemoteFile, source: DownloadSource, out: FileIO, flusher: _Flusher, notify: Notify
    ) -> None:
        self.file, self.source, self.out, self.notify = file, source, out, notify
        self.fetched, self._flusher = 0, flusher
        self._start()
        while self.done < file.size and (data := out.read(min(CHUNK, file.size - self.done))):
            self._hash.update(data)
            self.done += len(data)
        out.truncate(self.done)  # drop what is beyond the size of the file

    def _start(self) -> None:
        """Start again from the first byte."""
        self.out.seek(0)
        self.done, self._hash = 0, hasher(self.file)

    def digest(self) -> str:
        return self._hash.hexdigest()

    def run(self) -> None:
        """Download the missing bytes, retrying after transient errors."""
        failures, mark = 0, self.done
        while self.done < self.file.size:
            try:
                with opened(self.source.url, self.source.headers, self.source.token, first=self.done) as answer:
                    self._receive(answer)
            except TransientError as error:
                failures = 0 if self.done - mark >= PROGRESS else failures
                mark = self.done
                if failures < RETRIES:
                    self.notify(f"{self.file.name}: {error}; trying again")
                failures = _wait(error, failures)

    def _receive(self, answer: HTTPResponse) -> None:
        """Write the body of one response. Raises TransientError where it is not the rest of the file."""
        size = self.file.size
        if answer.status == 416:
            raise TransientError("the server does not have this range")
        if answer.status == 206:
            _check_range(answer, self.done, size)
        else:
            if answer.length is not None and answer.length != size:
                raise TransientError(f"the server has {answer.length} bytes, not {size}")
            self._start()  # the server ignored the range and sends the whole file
            self.out.truncate(0)
        while self.done < size:
            data = answer.read1(
                min(CHUNK, size - self.done)
            )  # whatever has arrived, so that nothing is lost if the rest fails
            if not data:
                raise TransientError("the connection was closed early")
            self._write(data)
            self._hash.update(data)
            self.done += len(data)
            self.fetched += len(data)
            self._flusher.written(len(data))
            self.notify(DownloadProgress(self.file.name, self.done, size, self.fetched))

    def _write(self, data: bytes) -> None:
        try:
            left = memoryview(data)
            while left:
                left = left[self.out.write(left) :]
        except OSError as error:
            if error.errno not in FULL:
                raise
            missing = format_bytes(self.file.size - self.done)
            hint = "free some space and pull again to resume (llmlocal prune removes the partial file)"
            raise ResourceError(f"{escaped(self.file.name)}: the disk is full, {missing} more needed", hint) from None


class _Flusher(Thread):
    """Flushes received bytes to disk in the background, so that the final flush is short. A context manager."""

    def __init__(self, handle: int) -> None:
        super().__init__(daemon=True)
        self._handle, self._waiting, self._ends = handle, 0, False
        self._due = Event()

    def __enter__(self) -> _Flusher:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends = True
        self._due.set()
        self.join()

    def written(self, count: int) -> None:
        """Report `count` more bytes written to the file."""
        self._waiting += count
        if self._waiting >= FLUSH:
            self._waiting = 0
            self._due.set()

    def run(self) -> None:
        while self._due.wait() and not self._ends:
            self._due.clear()
            with suppress(OSError):  # the final flush reports errors
                os.fsync(self._handle)


def _check_range(answer: HTTPResponse, first: int, size: int | None) -> None:
    """Raises TransientError unless a 206 response starts at `first` of a file of `size` bytes."""
    match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if not match or int(match[1]) != first or (size is not None and match[2] not in ("*", str(size))):
        raise TransientError("the server sent a different range than requested")


def _wait(error: TransientError, failures: int) -> int:
    """Sleep before the next attempt; returns the new number of failures. Raises NetworkError after RETRIES."""
    if failures >= RETRIES:
        raise NetworkError(str(error), "pull again later to resume") from None
    time.sleep(max(error.wait, BACKOFF * 2**failures))
    return failures + 1


@contextmanager
def _opened_partial(path: Path) -> Iterator[FileIO]:
    """The partial file, open at its start. A link or device in its place is removed, never written through."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or (path.exists() and not stat.S_ISREG(path.stat().st_mode)):
        path.unlink()
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with FileIO(os.open(path, flags, 0o666), "r+b") as file:
        yield file
