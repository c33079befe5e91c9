"""A program that is run for a call: its whole input, the beginning of its output, and an end in any case."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread
from typing import IO

MOST_OUTPUT = 1 << 20  # bytes that are kept of what it writes; the rest is read and forgotten
AFTER = 1.0  # seconds for output of a program that has ended, which another one that it started may hold open


def output_of(command: Sequence[str], given: bytes, seconds: float) -> tuple[int, bytes, bytes]:
    """Exit code, stdout and stderr of a program, which is started without a shell and reads `given`.

    Raises OSError or ValueError where it cannot be started, subprocess.TimeoutExpired where it takes longer than
    `seconds`: it is ended then, as are those that it started.
    """
    pipe = subprocess.PIPE
    # Not `with`: that would wait for what the program has started.
    process = subprocess.Popen(list(command), stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
    assert process.stdin and process.stdout and process.stderr
    out, err = bytearray(), bytearray()
    threads = [
        Thread(target=_write, args=(process.stdin, given), daemon=True),
        Thread(target=_keep, args=(process.stdout, out), daemon=True),
        Thread(target=_keep, args=(process.stderr, err), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        process.wait(seconds)
    except BaseException:
        _end(process)
        raise
    finally:
        for thread in threads:
            thread.join(AFTER)
    return process.returncode, bytes(out), bytes(err)


def _write(stream: IO[bytes], given: bytes) -> None:
    with suppress(OSError), stream:  # it need not read all
        stream.write(given)


def _keep(stream: IO[bytes], kept: bytearray) -> None:
    with stream:
        while data := os.read(stream.fileno(), 1 << 16):
            kept += data[: MOST_OUTPUT - len(kept)]


def _end(process: subprocess.Popen[bytes]) -> None:
    if os.name == "nt":
        process.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own
    process.wait()
