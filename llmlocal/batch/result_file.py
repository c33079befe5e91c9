"""The file of results: lines are appended whole, and after a crash the work goes on after the last of them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, BinaryIO

from ..errors import BadFileError, UsageError
from ..files.disk import check_folder, disk_error
from ..files.open_file import OpenFile
from ..text import escaped

if sys.platform != "win32":
    import fcntl

SYNC_SECONDS = 1.0  # how much work a power cut may cost; a program that is killed loses none
LONGEST_LINE = 1 << 28  # bytes


class ResultFile(OpenFile):
    """Context manager: `append` results as lines of JSON, each complete in the file when it returns.

    With `resume`, a file that exists is continued: `kept` yields the results that it holds, and must be exhausted
    before the first `append`. A line that a crash cut off is removed. Raises UsageError where the file is being written
    by another process, NotFoundError where its folder does not exist, ResourceError where the disk refuses.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        super().__init__(path)
        self._resume, self._synced = resume, 0.0

    def __enter__(self) -> ResultFile:
        try:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
            self._file = os.fdopen(os.open(self.path, flags, 0o666), "r+b", buffering=0)
            self._lock(self._file)
            if not self._resume:
                self._file.truncate(0)
        except OSError as error:
            raise disk_error(error, self.path) from error
        return self

    def _lock(self, file: BinaryIO) -> None:
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise UsageError(f"{escaped(str(self.path))} is being written by another process") from None

    def kept(self) -> Iterator[Mapping[str, Any]]:
        """The results in the file, in order. Raises BadFileError for a line that is none."""
        self.file.seek(0)
        whole, number = 0, 0
        with os.fdopen(os.dup(self.file.fileno()), "rb") as lines:
            while (line := lines.readline(LONGEST_LINE)).endswith(b"\n"):
                number += 1
                yield self._result(line, number)
                whole += len(line)
        if len(line) == LONGEST_LINE:
            raise BadFileError(f"{escaped(str(self.path))}: line {number + 1} is too long for a result of a batch")
        self.file.truncate(whole)
        self.file.seek(whole)

    def _result(self, line: bytes, number: int) -> Mapping[str, Any]:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or found.get("row") != number:
            where = f"{escaped(str(self.path))}: line {number} is not the result of row {number}"
            raise BadFileError(where, "go on with the file that this batch has written, or choose another -o")
        return found

    def append(self, result: Mapping[str, Any]) -> None:
        """Add a line."""
        data = memoryview(json_line(result))
        try:
            while data:
                data = data[self.file.write(data) :]
            if monotonic() - self._synced >= SYNC_SECONDS:
                os.fsync(self.file.fileno())
                self._synced = monotonic()
        except OSError as error:
            raise disk_error(error, self.path) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            os.fsync(self.file.fileno())
        except OSError as failure:
            raise disk_error(failure, self.path) from failure
        finally:
            self.file.close()
            self._file = None


def check_result_file(path: Path, *, resume: bool, force: bool) -> None:
    """Raises UsageError where a file exists and may be neither continued nor overwritten, or is not a regular file.

    Raises NotFoundError for a file to be continued in a folder that does not exist.
    """
    where = escaped(str(path))
    if path.exists() and not path.is_file():
        raise UsageError(f"{where} is not a regular file", "name a file")
    if path.exists() and not (resume or force):
        raise UsageError(f"{where} exists", "--resume goes on with it, --force overwrites it")
    check_folder(path)


def json_line(result: Mapping[str, Any]) -> bytes:
    """A result as a line of JSON."""
    return json.dumps(result, ensure_ascii=False).encode() + b"\n"
