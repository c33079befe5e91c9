"""The kernel cache on disk: object code keyed by sources, compiler versions and CPU."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

from .cpu import Target, target
from .kernel import Kernel

QUANT = Path(__file__).parents[1]
UNUSED_SECONDS = 14 * 86400  # another checkout or version may still use its folder


def room(kernel: Kernel) -> str:
    """The package under `llmlocal`, or another top-level module, in which the kernel is built."""
    return ".".join(kernel.build.__module__.split(".")[:2])


def sources(room: str) -> Iterator[Path]:
    """Every file whose text can change a kernel that is built in `room`: all of quant, and that package or module."""
    yield from sorted(QUANT.rglob("*.py"))
    module = sys.modules[room]
    for folder in getattr(module, "__path__", ()):
        if Path(folder) != QUANT:
            yield from sorted(Path(folder).rglob("*.py"))
    if not hasattr(module, "__path__") and getattr(module, "__file__", None):
        yield Path(str(module.__file__))


@cache
def fingerprint(where: Target, room: str) -> str:
    """What object code depends on: the sources of `room`, compiler versions, CPU and its features."""
    digest = hashlib.sha256(repr((where, version("numba"), version("llvmlite"))).encode())
    for path in sources(room):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def cache_root() -> Path:
    """The folder above all kernel caches: `LLMLOCAL_CACHE`, or the user's cache folder."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("LLMLOCAL_CACHE") or user_cache_path("llmlocal")) / "kernels"


@cache
def cache_folder(where: Target, room: str) -> Path:
    """The folder of a room's kernels, made on first use (0700); folders that were not used for long are removed."""
    root = cache_root()
    folder = root / f"{where.isa}-{fingerprint(where, room)}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.utime(folder)
        for other in root.iterdir():
            if time.time() - other.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(other, ignore_errors=True)
    return folder


def is_kept() -> bool:
    """Whether what is compiled now will be found by the next process."""
    return os.access(cache_folder(target(), f"{__package__}".rpartition(".")[0]), os.W_OK)


def path_of(kernel: Kernel, where: Target) -> Path:
    """The file that holds the kernel's object code, once it is compiled."""
    return cache_folder(where, room(kernel)) / f"{kernel.name}.o"


def read(path: Path) -> bytes | None:
    """The object code at `path` if it is whole: its sha256 stands before it."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data[32:] if hashlib.sha256(data[32:]).digest() == data[:32] else None


def keep(path: Path, code: bytes) -> None:
    """Write whole or not at all; a cache that cannot be written costs time, not correctness."""
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(hashlib.sha256(code).digest() + code)
            os.replace(name, path)
        except OSError:
            os.unlink(name)
