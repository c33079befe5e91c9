"""The texts of a command that takes many: from arguments, files and stdin, a line each, read as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import BadFileError, NotFoundError, UsageError
from .text_input import PIECE, text_source

MOST_LINE = 1 << 26  # bytes of a text


def texts_source(
    arguments: Sequence[str] | None, files: Sequence[Path] | None, *, split: str = "line", use_stdin: bool = True
) -> Callable[[], Iterator[bytes]]:
    """A function that yields texts: the arguments, those of files, then those of stdin for `-` or where none is given.

    An argument is a text; of files and stdin each `line` is one, each `paragraph` (lines up to an empty one), or all
    that a file holds (`whole`). Raises UsageError where there is nothing to read, NotFoundError at once for a file that
    does not exist; while reading BadFileError.
    """
    given = list(arguments or ())
    for path in files or ():
        if not path.exists():
            raise NotFoundError(f"{path}: no such file")
    reads_stdin = "-" in given or not (given or files)
    if given.count("-") > 1:
        raise UsageError("- stands for stdin, which can be read once")
    stdin = text_source("-" if "-" in given else None, use_stdin=use_stdin) if reads_stdin else None
    parts = {"line": _lines, "paragraph": _paragraphs, "whole": _whole}[split]

    def read() -> Iterator[bytes]:
        for path in files or ():
            yield from parts(_pieces(path))
        for text in given:
            if text != "-":
                yield text.encode("utf-8", "surrogateescape")
            elif stdin is not None:
                yield from parts(stdin())
        if stdin is not None and "-" not in given:
            yield from parts(stdin())

    return read


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece
    except OSError as error:
        raise BadFileError(f"{path}: cannot be read: {error.strerror}") from None


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their ends; an empty line is an empty text. Raises BadFileError for one of more than MOST_LINE."""
    kept = b""
    for piece in pieces:
        *whole, kept = (kept + piece).split(b"\n")
        if len(kept) > MOST_LINE:
            raise BadFileError(f"a line has more than {MOST_LINE >> 20} MiB", "each line is a text")
        yield from (line.removesuffix(b"\r") for line in whole)
    if kept:
        yield kept


def _paragraphs(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines that follow each other, joined; blank lines divide them."""
    held: list[bytes] = []
    for line in _lines(pieces):
        if line.strip():
            held.append(line)
        elif held:
            yield b"\n".join(held)
            held = []
    if held:
        yield b"\n".join(held)


def _whole(pieces: Iterable[bytes]) -> Iterator[bytes]:
    yield b"".join(pieces)
