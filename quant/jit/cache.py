"""The kernel cache on disk: object code keyed by sources, compiler versions and CPU.

Object code is run, so a cache that another user could have written is not used.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ..cache_tag import remove_tagged, tag
from ..private_folder import make_private, why_foreign
from .cpu import Target
from .host import remember, version_file
from .kept_file import cache_root
from .kernel import Kernel

QUANT = Path(__file__).parents[1]
UNUSED_SECONDS = 14 * 86400  # another checkout or version may still use its folder
LEAST_FREE = 1 << 20  # bytes of disk; the kernels of a model take a few hundred KiB


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
    digest = hashlib.sha256(repr(where).encode())
    for package in ("numba", "llvmlite"):  # read, as importing Numba takes half a second, and importlib.metadata 20 ms
        digest.update(version_file(package).read_bytes())
    for path in sources(room):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


@cache
def cache_folder(where: Target, room: str) -> Path:
    """The folder of a room's kernels, made on first use (0700); those of ours not used for long are removed.

    Where another user could have written there, it is a folder of this process alone.
    """
    folder = cache_root() / f"{where.isa}-{fingerprint(where, room)}"
    with contextlib.suppress(OSError):
        make_private(folder)
    if why_foreign(folder):
        return _folder_of_run(folder.name)
    remember()
    with contextlib.suppress(OSError):
        tag(folder)
        os.utime(folder)
        for other in folder.parent.iterdir():
            if time.time() - other.lstat().st_mtime > UNUSED_SECONDS:
                with contextlib.suppress(OSError):
                    remove_tagged(other)
    return folder


def why_not_kept(folder: Path | None = None) -> str | None:
    """Why a kernel that is compiled now is not kept for later runs in `folder`, by default `cache_root`, or None."""
    folder = folder or cache_root()
    with contextlib.suppress(OSError):
        make_private(folder)
    if reason := why_foreign(folder):
        return reason
    if not os.access(folder, os.W_OK):
        return f"{folder} cannot be written"
    return None if _takes_kernels(folder) else f"the disk of {folder} is full"


def _takes_kernels(folder: Path) -> bool:
    """Whether the disk has space for kernels, as a file shows: a quota, or a disk without inodes, has free blocks."""
    import tempfile  # with random; hardly ever needed

    if not hasattr(os, "posix_fallocate"):
        return shutil.disk_usage(folder).free >= LEAST_FREE
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, LEAST_FREE)
    except OSError as error:  # some systems cannot allocate, which says nothing of the disk
        return error.errno not in (errno.ENOSPC, errno.EDQUOT)
    return True


@cache
def _folder_of_run(name: str) -> Path:
    """A folder of that name in one that goes when this process ends, for all processes that compile for it."""
    folder = _run_folder() / name
    with contextlib.suppress(OSError):
        make_private(folder)
    return folder


@cache
def _run_folder() -> Path:
    import tempfile  # with random; hardly ever needed

    try:
        folder = Path(tempfile.mkdtemp(prefix="llmlocal-"))
    except OSError:
        return Path(os.devnull)  # nothing is found there, and nothing can be kept
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def path_of(kernel: Kernel, where: Target) -> Path:
    """The file that holds the kernel's object code, once it is compiled."""
    return object_path(f"{kernel.name}.o", where, room(kernel))


def object_path(name: str, where: Target, room: str) -> Path:
    """Where object code of that name is, or is to be written: for this run alone where the cache cannot be written."""
    folder = cache_folder(where, room)
    path = folder / name
    return path if path.exists() or not why_not_kept(folder) else _folder_of_run(folder.name) / name
