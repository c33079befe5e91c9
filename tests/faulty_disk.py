"""The program with a disk that fails: its Nth write, fsync or rename does what FAULT says. Run as a program by tests.

    python faulty_disk.py FAULT N ARGUMENTS...

FAULT: "kill", or the name of an errno. How often the disk was asked for something comes last on stderr.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any

FAULT, LAST = sys.argv[1], int(sys.argv[2])
real_fdopen = os.fdopen
count = 0


def step() -> None:
    global count
    count += 1
    if count != LAST:
        return
    if FAULT == "kill":
        os._exit(99)
    number = getattr(errno, FAULT)
    raise OSError(number, os.strerror(number))


def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **more: Any) -> Any:
        step()
        return real(*arguments, **more)

    return call


class File(io.FileIO):
    def write(self, data: Any) -> int | None:
        step()
        return super().write(data)


def fdopen(handle: int, mode: str = "r", *arguments: Any, **more: Any) -> Any:
    if mode != "wb":
        return real_fdopen(handle, mode, *arguments, **more)
    return io.BufferedWriter(File(handle, "w"), 512)


os.fdopen, os.fsync, os.replace = fdopen, guarded(os.fsync), guarded(os.replace)  # type: ignore[assignment]

from llmlocal.cli.main import main  # noqa: E402  (imports of ours come after what they shall find)

code = main(sys.argv[3:])
sys.stderr.write(f"{count}\n")
sys.exit(code)
