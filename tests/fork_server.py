"""Forks processes that have the program's modules already. Run as a program by `forked`, which says what it answers.

    python fork_server.py SOCKET

A connection asks for one process: its standard streams as descriptors, and a line of JSON with the arguments of Python,
the environment, the folder, and whether stdin becomes its terminal. The answer is its id, and its exit code at the end.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
import termios
from io import BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from typing import Any

STREAMS = 3
HIGHEST = 256  # of the descriptors that the server may have open


def load() -> None:
    """Import what the program imports for some command, and what scripted chats do."""
    sys.path.append(os.path.dirname(__file__))
    import chatting  # noqa: F401

    from llmlocal.cli import commands

    for module in pkgutil.iter_modules(commands.__path__):
        importlib.import_module(f"{commands.__name__}.{module.name}")
    gc.freeze()  # a process that looks for garbage would copy all pages


def serve(path: str) -> socket.socket:
    """Take connections until there is one in a process of its own, and return that."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        os.write(1, b"ready\n")
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return connection
            connection.close()


def asked(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """What a connection asks for, and the streams."""
    line, streams, _, _ = socket.recv_fds(connection, 65536, STREAMS)
    while not line.endswith(b"\n"):
        line += connection.recv(65536)
    return json.loads(line), streams


def become(wanted: dict[str, Any], streams: list[int]) -> None:
    """Make this process what Python would be with these arguments, after its start."""
    if wanted["terminal"]:
        os.setsid()
        fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
    os.closerange(STREAMS, HIGHEST)
    os.environ.clear()
    os.environ.update(wanted["environment"])
    os.chdir(wanted["folder"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = TextIOWrapper(BufferedReader(FileIO(0, closefd=False)), "utf-8", "surrogateescape")
    for name, number, errors in (("stdout", 1, "strict"), ("stderr", 2, "backslashreplace")):
        stream = BufferedWriter(FileIO(number, "w", closefd=False))
        line_by_line = number == 2 or os.isatty(number)
        setattr(sys, name, TextIOWrapper(stream, "utf-8", errors, line_buffering=line_by_line))
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]


def main() -> None:
    """Serve, and in each process that is asked for run what was asked for."""
    load()
    connection = serve(sys.argv[1])
    wanted, streams = asked(connection)
    if process := os.fork():
        connection.sendall(b"%d\n" % process)
        _, status = os.waitpid(process, 0)
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    become(wanted, streams)
    first, *arguments = wanted["arguments"]
    sys.argv = [first, *arguments]
    if first == "-m":
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        exec(compile(arguments[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main()
