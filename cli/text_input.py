"""Where a text comes from: the argument, stdin or both, or files. Reads stdin only when it is meant to."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

from ..errors import NotFoundError, PromptTooLongError, UsageError
from ..files.small_file import read_beginning
from ..text import escaped, format_bytes
from .ui import terminal

if TYPE_CHECKING:
    from ..chat_format.prompt import TextFile

PIECE = 1 << 20  # bytes that are read together
MOST_TEXT = 1 << 30  # bytes of a text to measure on
PATIENCE = 2.0  # seconds of waiting on an open pipe before a note says so


def prompt_source(
    argument: str | None, *, use_stdin: bool = True, needed: bool = True, what: str = "prompt", quiet: bool = True
) -> Callable[[int], bytes]:
    """A function that reads the prompt, chosen before anything slow is done. Bytes that are not UTF-8 are kept.

    It takes the largest size in bytes and raises PromptTooLongError for more. Without an argument stdin must be there,
    unless the prompt is not `needed`. Of stdin the last line feed is left out, as a shell's $(...) does. A file that
    somebody else is reading, as the lines of a shell's loop, is not read after a prompt. Unless `quiet`, a note on a
    terminal says what was read there. Raises UsageError where there is nothing to read.
    """
    text, fed = _sources(argument, use_stdin, needed, what)

    def read(most: int) -> bytes:
        data = b"".join(_stdin(what, most)).removesuffix(b"\n") if fed else b""
        if text and data and not quiet:
            terminal.tell_person(f"{len(data)} bytes of stdin are part of the {what} (--no-stdin leaves them out)")
        return b"\n".join(part for part in (text, data) if part)

    return read


def text_source(argument: str | None, *, use_stdin: bool = True) -> Callable[[], Iterator[bytes]]:
    """As `prompt_source`, for a text of any size that is read in pieces, exactly as it is."""
    text, fed = _sources(argument, use_stdin, True, "text")

    def read() -> Iterator[bytes]:
        yield text
        for i, piece in enumerate(_stdin("text", None) if fed else ()):
            yield b"\n" + piece if text and not i else piece

    return read


def _sources(argument: str | None, use_stdin: bool, needed: bool, what: str) -> tuple[bytes, bool]:
    """The text of the argument, and whether stdin is to be read. Raises UsageError."""
    if argument == "-" or (argument is None and needed):
        if not use_stdin and argument == "-":
            raise UsageError("- reads stdin, but --no-stdin was given")
        if argument is None and (not use_stdin or sys.stdin is None or sys.stdin.isatty()):
            raise UsageError(f"no {what}", "give a text, or - to type it in")
        return b"", True
    return (argument or "").encode("utf-8", "surrogateescape"), use_stdin and _is_fed()


def read_file(path: Path, most: int = MOST_TEXT) -> bytes:
    """A file's bytes, those of stdin for -. Raises NotFoundError, BadFileError.

    Raises PromptTooLongError where there are more than `most`: reading ends there, so that a device or a pipe without
    end cannot take all memory.
    """
    if path == Path("-"):
        return b"".join(_stdin("text", most))
    data = read_beginning(path, most + 1)
    if len(data) > most:
        raise _too_long(str(path), most)
    return data


def files_source(paths: Sequence[Path]) -> Callable[[int], list[TextFile]]:
    """A function that reads files to be sent with a prompt; it takes the largest size in bytes of each.

    Raises NotFoundError at once for a file that does not exist, otherwise as `read_file` does.
    """
    for path in paths:
        if path != Path("-") and not _exists(path):
            raise NotFoundError(f"{path}: no such file")

    def read(most: int) -> list[TextFile]:
        from ..chat_format.prompt import TextFile

        return [TextFile(str(path), read_file(path, most)) for path in paths]

    return read


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _too_long(name: str, most: int) -> PromptTooLongError:
    said = f"{escaped(name)} has more than {format_bytes(most)}: it cannot fit"
    return PromptTooLongError(said, "give a shorter text, or use a larger --ctx")


def _is_fed() -> bool:
    """Whether stdin is a pipe, or a file of which nothing was read: what is left of a file belongs to its reader."""
    try:
        handle = sys.stdin.fileno()
        mode = os.fstat(handle).st_mode
        return stat.S_ISFIFO(mode) or (stat.S_ISREG(mode) and os.lseek(handle, 0, os.SEEK_CUR) == 0)
    except (AttributeError, OSError, ValueError):
        return False


def _stdin(what: str, most: int | None) -> Iterator[bytes]:
    """All of stdin in pieces; a note says so if it takes long. Raises PromptTooLongError for more than `most` bytes."""
    if sys.stdin is None:
        return
    ends = "end with Ctrl-D" if sys.stdin.isatty() else "--no-stdin turns this off"
    timer = Timer(0 if sys.stdin.isatty() else PATIENCE, terminal.note, [f"reading the {what} from stdin ({ends})"])
    timer.daemon = True
    timer.start()
    size = 0
    try:
        while piece := sys.stdin.buffer.read(PIECE):
            timer.cancel()
            size += len(piece)
            if most is not None and size > most:
                raise _too_long("stdin", most)
            yield piece
    finally:
        timer.cancel()
