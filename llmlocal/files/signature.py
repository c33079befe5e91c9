"""The first bytes of files that llmlocal keeps in its cache folder, by which it knows what it may remove."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ..quant.private_folder import why_foreign_file

PROMPT_CACHE = b"llmlocal prefix "
DIGEST = b"llmlocal digest "


def carries(path: Path, signature: bytes) -> bool:
    """Whether this is a regular file, not a link to one, that is this user's alone and begins with `signature`."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with suppress(OSError), os.fdopen(os.open(path, flags), "rb") as file:
        return why_foreign_file(path, file.fileno()) is None and file.read(len(signature)) == signature
    return False
