"""Whether a run fits the memory that is free, also where a control group limits it. Asked before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import ResourceError
from .memory import in_words, memory
from .quant.tensor import QTensor

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")
UNLIMITED = 1 << 60  # what version 1 says where there is no limit is more than this


def available(groups: Path = GROUPS, own: Path = OWN_GROUP) -> int:
    """Bytes that this process can still take: of the machine, and of every control group that it is in."""
    import psutil

    return min([int(psutil.virtual_memory().available), *_left(groups, own)])


def check_memory(
    metadata: Mapping[str, Any], tensors: Mapping[str, QTensor], n_ctx: int, free: int | None = None
) -> None:
    """Raises ResourceError where a run with `n_ctx` tokens needs more than is free; it names what would fit."""
    free = available() if free is None else free
    needed = memory(metadata, tensors, n_ctx)
    if needed.total <= free:
        return
    fits = largest_context(metadata, tensors, n_ctx, free)
    message = f"a context of {n_ctx} tokens takes {in_words(needed.total)} of memory, and {in_words(free)} is free"
    if fits:
        raise ResourceError(message, f"--ctx {fits} is the largest context that fits; -y tries it all the same")
    hint = f"even a short context does not fit: the weights alone take {in_words(needed.weights)}"
    raise ResourceError(message, f"{hint}; choose a smaller model, or try all the same with -y")


def largest_context(metadata: Mapping[str, Any], tensors: Mapping[str, QTensor], n_ctx: int, free: int) -> int:
    """The largest context up to `n_ctx` that fits into `free` bytes, 0 where none does."""
    low, high = 0, n_ctx
    while low < high:
        middle = (low + high + 1) // 2
        if memory(metadata, tensors, middle).total <= free:
            low = middle
        else:
            high = middle - 1
    return low


def _left(groups: Path, own: Path) -> Iterator[int]:
    """What each control group above this process has left; files that it cached can be given back."""
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
                yield max(0, limit - max(0, (used or 0) - _reclaimable(group)))
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
