"""How much memory and disk this machine has for us. Knows no model."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def total_memory() -> int:
    """Bytes of memory that a process may have: the machine's, or less where a container says so."""
    import psutil

    return min(int(psutil.virtual_memory().total), *_limits())


def free_memory() -> int:
    """Bytes that are available now, without pushing others out."""
    import psutil

    return min(int(psutil.virtual_memory().available), *_limits())


def free_disk(folder: Path) -> int:
    """Free bytes on the disk where `folder` is or would be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _limits() -> list[int]:
    """What control groups allow; at least one number, however large."""
    found = [1 << 62]
    for path in _CGROUPS:
        with suppress(OSError, ValueError):
            found.append(int(Path(path).read_text()))
    return found
