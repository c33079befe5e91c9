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


def cpu_quota(groups: Path = GROUPS, own: Path = OWN_GROUP) -> int | None:
    """Whole CPUs that the tightest quota of the control groups of this process allows, at least 1; None without one."""
    quotas = []
    for group, version2 in _own_groups("cpu", groups, own):
        names = ("cpu.max",) if version2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        words = [word for name in names for word in _text(group / name).split()]
        with suppress(ValueError):  # "max", or no such file
            quota, period = map(int, words)
            if quota > 0 and period > 0:  # version 1 says -1 where there is none
                quotas.append(max(1, quota // period))
    return min(quotas, default=None)


def memory_limits(groups: Path = GROUPS, own: Path = OWN_GROUP) -> Iterator[tuple[int, int]]:
    """Memory limit and usage in bytes of each control group that this process is in, innermost first.

    Cached files do not count as used: the kernel drops them when memory runs short. Groups without a limit are left
    out.
    """
    for group, version2 in _own_groups("memory", groups, own):
        names = ("memory.max", "memory.current") if version2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        limit, used = (_number(group / name) for name in names)
        if limit is not None and limit < UNLIMITED:
            yield limit, max(0, (used or 0) - _reclaimable(group))


def _own_groups(controller: str, groups: Path, own: Path) -> Iterator[tuple[Path, bool]]:
    """Folders of the groups of this process that `controller` governs, innermost first, and whether of version 2."""
    for line in _text(own).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        version2 = controllers == ""
        if not version2 and controller not in controllers.split(","):
            continue
        root = groups
        if not version2:  # a controller that shares its hierarchy is a link to it, as a rule
            root = groups / (controller if (groups / controller).exists() else controllers)
        folder = root / path.strip("/")
        for group in (folder, *folder.parents):
            yield group, version2
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
