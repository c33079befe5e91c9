"""How much memory and disk this machine has for us. Knows no model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")
UNLIMITED = 1 << 60  # what version 1 says where there is no limit is more than this


def total_memory(groups: Path = GROUPS, own: Path = OWN_GROUP) -> int:
    """Bytes of memory that a process may have: the machine's, or less where a control group says so."""
    import psutil

    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in _limits(groups, own))])


def free_memory(groups: Path = GROUPS, own: Path = OWN_GROUP) -> int:
    """Bytes that are available now, without pushing others out: of the machine, and of every control group above us."""
    import psutil

    left = (max(0, limit - used) for limit, used in _limits(groups, own))
    return min([int(psutil.virtual_memory().available), *left])


def free_disk(folder: Path) -> int:
    """Free bytes on the disk where `folder` is or would be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _limits(groups: Path, own: Path) -> Iterator[tuple[int, int]]:
    """Limit and use of each control group above this process; files that it cached can be given back."""
    for line in _text(own).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        version2 = controllers == ""
        if not version2 and "memory" not in controllers.split(","):
            continue
        root = groups if version2 else groups / "memory"
        names = ("memory.max", "memory.current") if version2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        folder = root / path.strip("/")
        for group in (folder, *folder.parents):
            limit, used = (_number(group / name) for name in names)
            if limit is not None and limit < UNLIMITED:
                yield limit, max(0, (used or 0) - _reclaimable(group))
            if group == root:
                break


def _reclaimable(group: Path) -> int:
    """Bytes of cached files in a group."""
    found = dict(line.split(" ", 1) for line in _text(group / "memory.stat").splitlines() if " " in line)
    total = 0
    for name in ("inactive_file", "active_file"):
        with suppress(ValueError):
            total += int(found.get(f"total_{name}", found.get(name, "0")))
    return total


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:  # "max", or no such file
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
