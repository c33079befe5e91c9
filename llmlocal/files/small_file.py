"""Reading files that a user names and that are held in memory: whole, and never more than a limit."""

from __future__ import annotations

from pathlib import Path

from ..errors import BadFileError, NotFoundError
from ..text import escaped, format_bytes


def read_beginning(path: Path, most: int) -> bytes:
    """The first `most` bytes of a file: a device has no size that could be asked for.

    Raises NotFoundError where there is no such file, BadFileError where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(most)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null character in the path
        raise NotFoundError(f"{escaped(str(path))}: no such file") from None
    except OSError as error:
        raise BadFileError(f"{escaped(str(path))}: cannot be read: {error.strerror}") from None


def read_small(path: Path, most: int) -> bytes:
    """A file's bytes. Raises as `read_beginning`, and BadFileError where there are more than `most`."""
    data = read_beginning(path, most + 1)
    if len(data) > most:
        raise BadFileError(f"{escaped(str(path))}: larger than {format_bytes(most)}, too large for this kind of file")
    return data


def read_small_text(path: Path, most: int) -> str:
    """A UTF-8 file's text, without a byte order mark. Raises as `read_small`, and BadFileError for other encodings."""
    data = read_small(path, most)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFileError(f"{escaped(str(path))}: not UTF-8 (byte {error.start})") from None
