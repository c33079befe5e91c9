"""A pseudo-terminal for tests: what a program, or code of ours, really sends to a screen."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import forked
import pyte

PROGRAM = [sys.executable, "-m", "llmlocal"]
CHATTING = Path(__file__).parent / "chatting.py"
# The line editor's prompt with nothing typed.
EMPTY = re.compile(r"> *(Ask anything \(/\? for help\)|/\? for help)? *(context \d+% of \d+)?")


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
    code = forked.run(
        [*PROGRAM, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=screen.slave,
        stderr=screen.slave,
        env=environment,
        timeout=120,
    ).returncode
    return code, screen.close().decode()


class Person:
    """A person at a terminal of `columns` x `lines`: types, and sees what a program makes of the screen."""

    def __init__(self, command: list[str | Path], *, columns: int = 80, lines: int = 24, **environment: str) -> None:
        self.master, self.slave = os.openpty()
        self.size(columns, lines)
        self.before = termios.tcgetattr(self.slave)
        self.screen = pyte.HistoryScreen(columns, lines, history=10_000, ratio=0.5)
        self.screen.write_process_input = lambda data: self.type(data)  # answers to what the program asks
        self._stream = pyte.ByteStream(self.screen)
        self.sent, self.raw = Lock(), bytearray()
        everything = {**os.environ, "TERM": "xterm-256color", **environment}
        everything.pop("COLUMNS", None)
        self.process = forked.start(
            command, stdin=self.slave, stdout=self.slave, stderr=self.slave, env=everything, terminal=True
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            with self.sent:
                self.raw += data
                self._stream.feed(data)

    def size(self, columns: int, lines: int = 24) -> None:
        """Give the terminal another size; the program hears of it."""
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if hasattr(self, "screen"):
            self.screen.resize(lines, columns)
            os.killpg(self.process.pid, signal.SIGWINCH)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.master, text.encode())

    def say(self, text: str) -> None:
        """Type a text and send it."""
        self.type(text + "\r")

    def paste(self, text: str) -> None:
        """Paste a text as terminals do."""
        self.type(f"\x1b[200~{text}\x1b[201~")

    def shown(self) -> list[str]:
        """The lines of the screen, those that went off its top included, without blank ones at the end."""
        with self.sent:
            above = [
                "".join(line[x].data for x in range(self.screen.columns)).rstrip() for line in self.screen.history.top
            ]
            lines = above + [line.rstrip() for line in self.screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def until(self, wanted: str | Callable[[list[str]], bool], patience: float = 60) -> list[str]:
        """Wait until a text stands on the screen, or something holds of its lines; then the lines."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            lines = self.shown()
            if wanted(lines) if callable(wanted) else any(wanted in line for line in lines):
                return lines
            if self.process.poll() is not None and time.monotonic() + 2 < end:
                end = time.monotonic() + 2  # what it sent last may still be on the way
            time.sleep(0.01)
        raise AssertionError(f"{wanted!r} did not come:\n" + "\n".join(self.shown()))

    def prompted(self, times: int = 1) -> list[str]:
        """Wait until an empty prompt is the last line; `times` is how many prompts there are."""

        def ready(lines: list[str]) -> bool:
            mine = [line for line in lines if line.startswith(">")]
            return len(mine) >= times and bool(lines) and bool(EMPTY.fullmatch(lines[-1]))

        return self.until(ready)

    def modes(self) -> list[Any]:
        """The terminal's settings."""
        return termios.tcgetattr(self.slave)

    def close(self, *, end: bool = True) -> int:
        """Leave (Ctrl-D), and the program's exit code."""
        if end:
            self.type("\x04")
        try:
            return self.process.wait(60)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            time.sleep(0.05)
            os.close(self.slave)
            os.close(self.master)


@contextmanager
def people() -> Iterator[list[Person]]:
    """A list of persons, whose programs are ended at last."""
    all_of_them: list[Person] = []
    yield all_of_them
    for person in all_of_them:
        if person.process.poll() is None:
            person.process.kill()
            person.process.wait()


def at_a_chat(
    folder: Path, script: Mapping[str, Any], model: str, *options: str | Path, columns: int = 80, **environment: str
) -> Person:
    """A person in a chat with a scripted model (see chatting.py), whose files lie in `folder`."""
    (folder / "script.json").write_text(json.dumps(script))
    homes = {name: str(folder) for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
    command = [sys.executable, CHATTING, folder / "script.json", "chat", model, *options]
    return Person(command, columns=columns, **homes, **environment)
