"""Where a text comes from: the argument, stdin or both, or files. Reads stdin only when it is meant to."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

from ..errors import BadFileError, NotFoundError, UsageError
from .ui import terminal

if TYPE_CHECKING:
    from ..chat_format.prompt import TextFile

PATIENCE = 2.0  # seconds of waiting on an open pipe before a note says so


def prompt_source(
    argument: str | None,
    *,
    use_stdin: bool = True,
    needed: bool = True,
    what: str = "prompt",
    exact: bool = False,
    quiet: bool = True,
) -> Callable[[], bytes]:
    """A function that reads the prompt, chosen before anything slow is done. Bytes that are not UTF-8 are kept.

    Without an argument stdin must be there, unless the prompt is not `needed`. Of stdin the last line feed is left
    out, as a shell's $(...) does, unless `exact`. A file that somebody else is reading, as the lines of a shell's loop,
    is not read after a prompt. Unless `quiet`, a note on a terminal says what was read there. Raises UsageError where
    there is nothing to read.
    """

    def read() -> bytes:
        data = _read(what)
        return data if exact else data.removesuffix(b"\n")

    if argument == "-" or (argument is None and needed):
        if not use_stdin and argument == "-":
            raise UsageError("- reads stdin, but --no-stdin was given")
        if argument is None and (not use_stdin or sys.stdin is None or sys.stdin.isatty()):
            raise UsageError(f"no {what}", "give a text, or - to type it in")
        return read
    text = (argument or "").encode("utf-8", "surrogateescape")
    if not use_stdin or not _is_fed():
        return lambda: text

    def both() -> bytes:
        more = read()
        if more and not quiet:
            terminal.tell_person(f"{len(more)} bytes of stdin are part of the {what} (--no-stdin leaves them out)")
        return b"\n".join(part for part in (text, more) if part)

    return both


def read_file(path: Path) -> bytes:
    """A file's bytes, those of stdin for -. Raises NotFoundError and BadFileError."""
    if path == Path("-"):
        return _read("text")
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise NotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise BadFileError(f"{path}: cannot be read: {error.strerror}") from None


def read_files(paths: Sequence[Path]) -> list[TextFile]:
    """Files to be read with a prompt. Raises as `read_file` does."""
    from ..chat_format.prompt import TextFile

    return [TextFile(str(path), read_file(path)) for path in paths]


def _is_fed() -> bool:
    """Whether stdin is a pipe, or a file of which nothing was read: what is left of a file belongs to its reader."""
    try:
        handle = sys.stdin.fileno()
        mode = os.fstat(handle).st_mode
        return stat.S_ISFIFO(mode) or (stat.S_ISREG(mode) and os.lseek(handle, 0, os.SEEK_CUR) == 0)
    except (AttributeError, OSError, ValueError):
        return False


def _read(what: str) -> bytes:
    """All of stdin; a note says so if it takes long."""
    if sys.stdin is None:
        return b""
    ends = "end with Ctrl-D" if sys.stdin.isatty() else "--no-stdin turns this off"
    timer = Timer(0 if sys.stdin.isatty() else PATIENCE, terminal.note, [f"reading the {what} from stdin ({ends})"])
    timer.daemon = True
    timer.start()
    try:
        return sys.stdin.buffer.read()
    finally:
        timer.cancel()
