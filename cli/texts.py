"""The texts of a command that takes many: from arguments, files and stdin, a line each, read as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import BadFileError, NotFoundError, UsageError
from .text_input import PIECE, text_source

MOST_LINE = 1 << 26  # bytes of a text
STRETCH = 1 << 18  # bytes that are made tokens at once


def texts_source(
    arguments: Sequence[str] | None, files: Sequence[Path] | None, *, split: str = "line", use_stdin: bool = True
) -> Callable[[], Iterator[bytes]]:
    """A function that yields texts: those of files, then the arguments, with stdin for `-` or where nothing is given.

    An argument is a text; of files and stdin each `line` is one, or each `paragraph` (lines up to an empty one). Raises
    UsageError where there is nothing to read, NotFoundError at once for a file that does not exist; while reading
    BadFileError.
    """
    sources, parts = _sources(arguments, files, use_stdin), {"line": _lines, "paragraph": _paragraphs}[split]

    def read() -> Iterator[bytes]:
        for pieces, is_argument in sources():
            yield from pieces if is_argument else parts(pieces)

    return read


def stretches_source(
    arguments: Sequence[str] | None, files: Sequence[Path] | None, *, use_stdin: bool = True
) -> Callable[[], Iterator[Iterator[bytes]]]:
    """As `texts_source`, where all that a file holds is a text; each text comes in stretches that end with a word."""
    sources = _sources(arguments, files, use_stdin)
    return lambda: (_stretches(pieces) for pieces, _ in sources())


def _sources(
    arguments: Sequence[str] | None, files: Sequence[Path] | None, use_stdin: bool
) -> Callable[[], Iterator[tuple[Iterable[bytes], bool]]]:
    """A function that yields the bytes of each file, argument and stdin in pieces, and whether it is an argument."""
    given = list(arguments or ())
    for path in files or ():
        if not path.exists():
            raise NotFoundError(f"{path}: no such file")
    reads_stdin = "-" in given or not (given or files)
    if given.count("-") > 1:
        raise UsageError("- stands for stdin, which can be read once")
    stdin = text_source("-" if "-" in given else None, use_stdin=use_stdin) if reads_stdin else None

    def read() -> Iterator[tuple[Iterable[bytes], bool]]:
        for path in files or ():
            yield _pieces(path), False
        for text in given:
            if text != "-":
                yield [text.encode("utf-8", "surrogateescape")], True
            elif stdin is not None:
                yield stdin(), False
        if stdin is not None and "-" not in given:
            yield stdin(), False

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


def _stretches(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Stretches of about STRETCH bytes that end with a line, or where there is none before a space.

    Raises BadFileError where neither comes for MOST_LINE.
    """
    kept = b""
    for piece in pieces:
        kept += piece
        if len(kept) < STRETCH:
            continue
        end = kept.rfind(b"\n") + 1 or max(kept.rfind(b" "), 0)
        if not end and len(kept) > MOST_LINE:
            raise BadFileError(f"{MOST_LINE >> 20} MiB without a space or a line", "divide the text into lines")
        if end:
            yield kept[:end]
            kept = kept[end:]
    if kept:
        yield kept
