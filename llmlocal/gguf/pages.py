"""The pages of memory under a file's mapping: large ones where the system has them, and returned when not needed.

Linux maps a file that lies in the page cache in 2 MB pieces with one entry each. The pieces are that large where the
file was read through a mapping that asked for it, and small where it has just been written.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .values import padded

SMAPS = Path("/proc/self/smaps")
RANGE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ")
WORTHWHILE = 64 << 20  # bytes of a file
PROBE, PIECE = 4 << 20, 32 << 20  # bytes that are read again to see large pages, and to see how fast; multiples of one
FAST = 1e9  # bytes/s of a disk that is read again unasked
NEAR = 64 << 10  # bytes between spans of memory that are dropped together
ADVICE: int = getattr(mmap, "MADV_WILLNEED", 0)  # to read pages of a mapping that will be needed soon
LARGE = ("AnonHugePages:", "FilePmdMapped:", "ShmemPmdMapped:")


def advise_address() -> int:
    """Address of the system's function that takes advice on memory, madvise; 0 where there is none."""
    try:
        function = ctypes.CDLL(None).madvise
    except (AttributeError, OSError, TypeError):  # Windows
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def address_of(map: mmap.mmap) -> int:
    """Where the mapping begins."""
    import numpy as np

    return int(np.frombuffer(map, np.uint8).ctypes.data)


def private_memory(nbytes: int, *, large: bool = True) -> mmap.mmap:
    """Memory of this process alone, in large pages where the system has them; shared memory rarely gets any.

    Not `large`: in small ones. A large page is whole in memory once a byte of it is written.
    """
    kind = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    map = mmap.mmap(-1, nbytes, **kind)
    if large:
        prefer_large_pages(map)
    elif hasattr(mmap, "MADV_NOHUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            map.madvise(mmap.MADV_NOHUGEPAGE)
    return map


def prefer_large_pages(map: mmap.mmap, path: Path | None = None) -> None:
    """Ask for large pages; of use before the mapping is read for the first time. For `path` see `read_again`."""
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            map.madvise(mmap.MADV_HUGEPAGE)
    if path is not None:
        read_again(path, map)


def runs(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans (start, end) of addresses, those that lie close to each other as one: each call of the system costs."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and start - found[-1][1] <= NEAR:
            start, end = found.pop()[0], max(end, start)
        found.append((start, end))
    return found


def drop_pages(map: mmap.mmap, address: int, nbytes: int) -> None:
    """Drop the whole pages within `nbytes` at `address`, where these lie in `map`; later access reads them again."""
    advice, first = getattr(mmap, "MADV_DONTNEED", None), address - address_of(map)
    if advice is None or not 0 <= first < len(map):
        return
    start = padded(first, mmap.PAGESIZE)  # the page before may hold the end of the previous tensor
    end = min(first + nbytes, len(map)) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start:
        map.madvise(advice, start, end - start)


def large_share(maps: Iterable[mmap.mmap]) -> float | None:
    """Share (0..1) of the memory of `maps` that lies in large pages; None where the system does not tell."""
    ranges = [(start, start + len(map)) for map in maps for start in [address_of(map)]]
    resident = large = 0
    inside = False
    try:
        with open(SMAPS, encoding="ascii", errors="replace") as lines:
            for line in lines:
                if found := RANGE.match(line):
                    at = int(found[1], 16)
                    inside = any(start <= at < end for start, end in ranges)
                elif inside and line.startswith(("Rss:", *LARGE)):
                    kilobytes = int(line.split()[1])
                    resident += kilobytes if line.startswith("Rss:") else 0
                    large += 0 if line.startswith("Rss:") else kilobytes
    except (OSError, ValueError):
        return None
    return large / resident if resident else None


def read_again(path: Path, map: mmap.mmap) -> bool:
    """Bring a file that lies in the page cache in small pieces into large ones: drop it and read it again.

    Only where that is cheap: a first piece of the file must come back in large pages, and at `FAST` bytes/s. Nothing is
    dropped that another process has mapped. Returns whether the file was read again.
    """
    if len(map) < WORTHWHILE or not hasattr(os, "posix_fadvise") or not hasattr(mmap, "MADV_HUGEPAGE"):
        return False
    for at in range(0, len(map), len(map) // 8):
        map[at]  # what is not in the cache comes in large pages now
    if large_share([map]) != 0:
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        for piece in (PROBE, PIECE):
            started = time.perf_counter()
            _drop(map, handle, 0, piece)
            for at in range(0, piece, mmap.PAGESIZE):
                map[at]
            if not large_share([map]):
                return False  # this system or file system has none
        if PIECE / (time.perf_counter() - started) < FAST:
            return False
        _drop(map, handle, PIECE, len(map) - PIECE)
    finally:
        os.close(handle)
    return True


def _drop(map: mmap.mmap, handle: int, start: int, nbytes: int) -> None:
    """Unmap a part of a file and drop it from the page cache; the next access reads it from the disk."""
    map.madvise(mmap.MADV_DONTNEED, start, nbytes)
    os.posix_fadvise(handle, start, nbytes, os.POSIX_FADV_DONTNEED)
