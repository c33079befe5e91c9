"""How much memory and disk this machine has for us. Knows no model."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..quant.cgroups import GROUPS, OWN_GROUP, memory_limits


def total_memory(groups: Path = GROUPS, own: Path = OWN_GROUP) -> int:
    """Bytes of memory that a process may have: the machine's, or less where a control group says so."""
    import psutil

    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in memory_limits(groups, own))])


def free_memory(groups: Path = GROUPS, own: Path = OWN_GROUP) -> int:
    """Bytes that are available now, without pushing others out: of the machine, and of every control group above us."""
    import psutil

    left = (max(0, limit - used) for limit, used in memory_limits(groups, own))
    return min([int(psutil.virtual_memory().available), *left])


def free_disk(folder: Path) -> int:
    """Free bytes on the disk where `folder` is or would be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
