"""Reading files that a user names and that are held in memory: whole, and never more than a limit."""

from __future__ import annotations

from pathlib import Path

from ..errors import BadFileError, NotFoundError
from ..text import escaped


def read_small(path: Path, most: int) -> bytes:
    """A file's bytes, and one more than `most` of a larger file: a device has no size that could be asked for.

    Raises NotFoundError where there is no such file, BadFileError where it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null character in the path
        raise NotFoundError(f"{escaped(str(path))}: no such file") from None
    except OSError as error:
        raise BadFileError(f"{escaped(str(path))}: cannot be read: {error.strerror}") from None
