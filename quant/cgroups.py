"""Linux control groups: the CPU quota and the memory limits that a container sets for this process.

Reads files only; on systems without control groups there are no limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")
UNLIMITED = 1 << 60  # version 1 states a larger number where there is no limit


def cpu_quota(groups: Path = GROUPS) -> int | None:
    """Whole CPUs that the quota of this container allows, at least 1; None without a quota."""
    try:
        quota, period = _text(groups / "cpu.max").split()
        return None if quota == "max" else max(1, int(quota) // int(period))
    except ValueError:
        return None


def memory_limits(groups: Path = GROUPS, own: Path = OWN_GROUP) -> Iterator[tuple[int, int]]:
    """Memory limit and usage in bytes of each control group that this process is in, innermost first.

    Cached files do not count as used: the kernel drops them when memory runs short. Groups without a limit are left
    out.
    """
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
