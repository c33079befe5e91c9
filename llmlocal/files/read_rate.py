"""Measures how fast the disk gives parts of a file that lie apart, as a mixture larger than memory reads experts."""

from __future__ import annotations

import mmap
import os
import random
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

SECONDS, MOST = 2.0, 1 << 30  # the time that it takes, and the bytes that it reads, at most
SECTOR, STORED = 512, 0.5  # bytes that st_blocks counts; a file is sparse if less of it is on the disk

Part = tuple[int, int]  # of a file: first byte, bytes


def read_rate(path: Path, parts: Sequence[Part], together: int) -> float | None:
    """Bytes per second in which parts of a file are read from the disk, `together` of them at a time.

    Parts are drawn at random and dropped from the page cache. Those read together are asked for at once, then touched
    page by page, as a run does it. None where the system cannot drop or ask, or the file is not on a disk.
    """
    if not hasattr(os, "posix_fadvise") or not hasattr(mmap, "MADV_WILLNEED"):
        return None
    with open(path, "rb") as file:
        state = os.fstat(file.fileno())
        if state.st_blocks * SECTOR < STORED * state.st_size:
            return None
        drawn, left = [], MOST
        for first, nbytes in random.sample(parts, len(parts)):
            left -= nbytes
            if left < 0:
                break
            os.posix_fadvise(file.fileno(), first, nbytes, os.POSIX_FADV_DONTNEED)
            drawn.append((first, nbytes))
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as map:
            return _timed(map, drawn, together)


def _timed(map: mmap.mmap, parts: Sequence[Part], together: int) -> float | None:
    each, done, started, seconds = iter(parts), 0, time.perf_counter(), 0.0
    while seconds < SECONDS and (some := list(islice(each, together))):
        for first, nbytes in some:
            start = first // mmap.PAGESIZE * mmap.PAGESIZE
            map.madvise(mmap.MADV_WILLNEED, start, first + nbytes - start)
        for first, nbytes in some:
            for at in range(first, first + nbytes, mmap.PAGESIZE):
                map[at]
            done += nbytes
        seconds = time.perf_counter() - started
    return done / seconds if done else None
