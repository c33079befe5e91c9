"""Memory and disk of this machine that are available to this process."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..quant.cgroups import GROUPS, OWN_GROUP, memory_limits
from ..quant.machine import machine_memory


def total_memory(groups: Path = GROUPS, own: Path = OWN_GROUP) -> int:
    """Bytes of memory that this process may use: the machine's, or the limit of its control group."""
    return min([machine_memory().total, *(limit for limit, _ in memory_limits(groups, own))])


def free_memory(groups: Path = GROUPS, own: Path = OWN_GROUP) -> int:
    """Bytes of memory available now without swapping, in the machine and in every control group of this process."""
    left = (max(0, limit - used) for limit, used in memory_limits(groups, own))
    return min([machine_memory().available, *left])


def free_disk(folder: Path) -> int:
    """Free bytes on the disk of `folder`, which need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
