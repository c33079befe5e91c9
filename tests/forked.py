"""Processes of the program that need not import it: a server forks them (see fork_server).

They are used as those of `subprocess` are, which start them on other systems than Linux. Tests of how a process starts,
of its imports and of closed streams use `subprocess` themselves.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from types import TracebackType
from typing import IO, Any, Self

SERVER = Path(__file__).parent / "fork_server.py"
Stream = int | IO[Any] | None


@cache
def server() -> str:
    """The socket of the server, which ends with this process."""
    folder = TemporaryDirectory(prefix="llmlocal-fork-")
    path = f"{folder.name}/socket"
    process = subprocess.Popen(
        [sys.executable, SERVER, path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # forking and threads do not go together
    )
    assert process.stdout and process.stdout.readline() == b"ready\n"
    atexit.register(folder.cleanup)
    atexit.register(process.kill)
    return path


class Forked:
    """A process with the attributes of `subprocess.Popen` that tests use."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        terminal: bool = False,
    ) -> None:
        assert command[0] == sys.executable
        self.returncode: int | None = None
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None
        given: list[int] = []
        for number, (name, stream) in enumerate((("stdin", stdin), ("stdout", stdout), ("stderr", stderr))):
            if stream == subprocess.PIPE:
                read, write = os.pipe()
                ours, theirs = (read, write) if number else (write, read)
                setattr(self, name, os.fdopen(ours, "rb" if number else "wb", 0 if not number else -1))
            elif stream == subprocess.DEVNULL:
                theirs = os.open(os.devnull, os.O_RDWR)
            else:
                theirs = os.dup(number if stream is None else stream if isinstance(stream, int) else stream.fileno())
            given.append(theirs)
        wanted = {
            "arguments": list(map(str, command[1:])),
            "environment": dict(os.environ if env is None else env),
            "folder": str(cwd or Path.cwd()),
            "terminal": terminal,
        }
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(server())
        line = json.dumps(wanted).encode() + b"\n"
        sent = socket.send_fds(self._connection, [line], given)
        self._connection.sendall(line[sent:])
        for stream in given:
            os.close(stream)
        self._answer = self._connection.makefile("rb")
        self.pid = int(self._answer.readline())
        self._waiting = Thread(target=self._wait, daemon=True)
        self._waiting.start()

    def _wait(self) -> None:
        self.returncode = int(self._answer.readline())
        self._answer.close()
        self._connection.close()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._waiting.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it has ended, which is told in a moment
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, input: bytes = b"", timeout: float | None = None) -> tuple[bytes, bytes]:
        """Send `input`, and wait for the end; then what stdout and stderr said."""
        got: dict[Any, bytes] = {self.stdout: b"", self.stderr: b""}

        def read(stream: IO[bytes]) -> None:
            with stream:
                got[stream] = stream.read()

        readers = [Thread(target=read, args=(stream,)) for stream in got if stream]
        for reader in readers:
            reader.start()
        if self.stdin:
            with suppress(BrokenPipeError):  # it need not read all
                self.stdin.write(input)
            self.stdin.close()
        try:
            self.wait(timeout)
        finally:
            self.kill()
            for reader in readers:
                reader.join()
        return got[self.stdout], got[self.stderr]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream:
                stream.close()
        self.wait()


Process = Forked | subprocess.Popen[bytes]


def start(command: Sequence[str | Path], *, terminal: bool = False, **more: Any) -> Process:
    """As `subprocess.Popen`, for commands that begin with this Python; `terminal`: stdin becomes its terminal."""
    if sys.platform == "linux":
        return Forked(command, terminal=terminal, **more)
    if terminal:
        import fcntl
        import termios

        more |= {"start_new_session": True, "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)}
    return subprocess.Popen(list(map(str, command)), **more)


def run(
    command: Sequence[str | Path],
    *,
    input: str | bytes | None = None,
    check: bool = False,
    text: bool = False,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    stdin: Stream = None,
    stdout: Stream = subprocess.PIPE,
    stderr: Stream = subprocess.PIPE,
) -> subprocess.CompletedProcess[Any]:
    """As `subprocess.run`; stdout and stderr are captured unless they are given."""
    stdin = stdin if input is None else subprocess.PIPE
    data = input.encode() if isinstance(input, str) else input
    with start(command, stdin=stdin, stdout=stdout, stderr=stderr, env=env) as process:
        found = process.communicate(data or b"", timeout)
    out, err = (stream.decode() for stream in found) if text else found
    done = subprocess.CompletedProcess(command, process.wait(), out, err)
    if check:
        done.check_returncode()
    return done
