"""A pseudo-terminal for tests: what a program, or code of ours, really sends to a screen."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
import sys
import termios
from io import TextIOWrapper
from pathlib import Path
from threading import Thread

PROGRAM = [sys.executable, "-m", "llmlocal"]


class Screen:
    """A pseudo-terminal of `columns`; `slave` is a stream to write to, `close` returns the bytes that arrived."""

    def __init__(self, columns: int = 80) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        modes = termios.tcgetattr(slave)
        modes[1] &= ~termios.OPOST  # line feeds as they are sent
        termios.tcsetattr(slave, termios.TCSANOW, modes)
        self.slave = TextIOWrapper(os.fdopen(slave, "wb", 0), "utf-8", write_through=True)
        self._got: list[bytes] = []
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._master, 65536):
                self._got.append(data)
        except OSError as error:
            assert error.errno == errno.EIO  # how a pseudo-terminal says that nobody has it open

    def close(self) -> bytes:
        self.slave.close()
        self._reader.join(20)
        os.close(self._master)
        return b"".join(self._got)


def on_terminal(*arguments: str | Path, columns: int = 80, **environment: str) -> tuple[int, str]:
    """Exit code and all output of the program with stdout and stderr on one terminal."""
    screen = Screen(columns)
    environment = {**os.environ, "TERM": "xterm", **environment}
    environment.pop("COLUMNS", None)
    code = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=screen.slave,
        stderr=screen.slave,
        env=environment,
        timeout=120,
    ).returncode
    return code, screen.close().decode()
