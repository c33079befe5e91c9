"""Files of the kernel cache: where they lie, and that they are ours alone and whole. A SHA-256 stands before them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from ..private_folder import read_private
from ..user_folders import user_folder


def cache_root() -> Path:
    """The folder above all kernel caches: `LLMLOCAL_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("LLMLOCAL_CACHE") or user_folder("cache")) / "kernels"


def read(path: Path) -> bytes | None:
    """What `keep` wrote to `path` if it is ours alone and whole."""
    data = read_private(path)
    if data is None:
        return None
    return data[32:] if hashlib.sha256(data[32:]).digest() == data[:32] else None


def keep(path: Path, content: bytes) -> None:
    """Write whole or not at all; a cache that cannot be written costs time, not correctness."""
    import tempfile  # with random; hardly ever needed

    with contextlib.suppress(OSError), _not_ended():
        handle, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(hashlib.sha256(content).digest() + content)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise


@contextlib.contextmanager
def _not_ended() -> Iterator[None]:
    """SIGTERM, with which a process that compiles is given up, waits until the end of the block."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
