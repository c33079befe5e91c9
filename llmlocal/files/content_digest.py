"""SHA-256 of large files, computed once and kept for as long as device, inode, size and times stay the same."""

from __future__ import annotations

import hashlib
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from ..errors import LlmlocalError
from ..quant.private_folder import make_private, read_private, why_foreign
from .atomic_file import atomic_file
from .signature import DIGEST

PIECE = 16 << 20  # bytes between two moments in which Ctrl-C acts
SETTLED = 2.0  # seconds: a file that was changed later than that ago may change again without a new time
_KEPT = re.compile(re.escape(DIGEST) + rb"1\n([0-9a-f]{64})\n")


def known_digest(state: os.stat_result) -> str | None:
    """The SHA-256, in hex, of the file with this state, None where it has not been kept."""
    place = _place(state)
    match = _KEPT.fullmatch(read_private(place) or b"")
    return match[1].decode() if match and why_foreign(place.parent) is None else None


def content_digest(data: memoryview, path: Path, state: os.stat_result) -> str | None:
    """The SHA-256, in hex, of a file that is mapped as `data` and had `state` when it was; kept for the next time.

    None where the file at `path` has changed since.
    """
    if not is_unchanged(path, state):
        return None
    hashed = hashlib.sha256()
    for at in range(0, len(data), PIECE):
        hashed.update(data[at : at + PIECE])
    if not is_unchanged(path, state):
        return None
    if time.time() - max(state.st_mtime, state.st_ctime) > SETTLED:
        keep_digest(state, hashed.hexdigest())
    return hashed.hexdigest()


def is_unchanged(path: Path, state: os.stat_result) -> bool:
    """Whether the file at `path` is the one with this state."""
    with suppress(OSError):
        return _stamp(os.stat(path)) == _stamp(state)
    return False


def keep_digest(state: os.stat_result, digest: str) -> None:
    """Keep the SHA-256 of the file with this state; where that is not possible it is computed again."""
    place = _place(state)
    with suppress(OSError, LlmlocalError):
        make_private(place.parent)
        if why_foreign(place.parent) is None:
            with atomic_file(place, force=True) as file:
                os.chmod(file.fileno(), 0o600)
                file.write(DIGEST + f"1\n{digest}\n".encode())


def _place(state: os.stat_result) -> Path:
    from ..quant.jit.kept_file import cache_root

    name = hashlib.sha256(repr(_stamp(state)).encode()).hexdigest()[:32]
    return cache_root().with_name("digests") / f"{name}.digest"


def _stamp(state: os.stat_result) -> tuple[int, ...]:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
