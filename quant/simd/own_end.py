"""Work that two threads draw from both ends, so that each finds in its core's caches what it had in the run before."""

from __future__ import annotations

from typing import Any

from .instruction_set import InstructionSet


def own_end(v: InstructionSet) -> Any:
    """`(taken, mine, pieces, ith, nth)`: which piece of work thread `ith` does when `taken` < `pieces` were taken by
    all threads, `mine` of them by itself.

    Of two threads each takes them from an end of its own: they meet where the last is taken. More threads take them in
    order. A thread counts `mine` from 0 on for each counter, and goes through one only once.
    """
    return v.jitable(piece)


def piece(taken: int, mine: int, pieces: int, ith: int, nth: int) -> int:
    """As `own_end`, in Python."""
    if nth != 2:
        return taken
    return mine if ith == 0 else pieces - 1 - mine
