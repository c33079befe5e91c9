"""Work that threads draw from stretches of their own, so that each finds in its core's caches what it had in the run
before, and no counter's cache line goes from core to core while there is work for all.
"""

from __future__ import annotations

from typing import Any

from .instruction_set import InstructionSet

STRETCHES, LINE = 16, 64  # at most, for as many threads; bytes from counter to counter
BACK, FRONTS = 1 << 32, (1 << 32) - 1  # a counter holds how often its stretch was drawn from: the end, and the front


def counters_at(fields: int) -> int:
    """Where in an argument block of so many fields the counters of stretches begin, in bytes: on a cache line."""
    return -(-8 * (1 + fields) // LINE) * LINE


def next_piece(v: InstructionSet) -> Any:
    """`(counters, ith, nth, pieces, turn)`: the number of the piece that thread `ith` of `nth` does next, and a turn.

    `counters` is the address of STRETCHES counters, LINE bytes apart, 0 at first. `turn` is 0 at first, then what came
    with the piece before. A thread goes through its own stretch of pieces in order, then through those that nobody has
    begun, and takes from the ends of others. When there is nothing left, the piece is `pieces`.
    """

    @v.jitable
    def drawn(counter, count, first, step):
        taken = v.atomic_add(counter, step)
        front, back = taken & FRONTS, taken >> 32
        if front + back >= count:
            return -1
        return first + front if step == 1 else first + count - 1 - back

    def run(counters, ith, nth, pieces, turn):
        stretches = min(nth, STRETCHES)
        while turn < 2 * stretches:  # odd where it takes from the end
            at = (ith + turn // 2) % stretches
            first, counter = pieces * at // stretches, counters + LINE * at
            count, taken = pieces * (at + 1) // stretches - first, v.atomic_load(counter)
            if (taken & FRONTS) + (taken >> 32) < count:  # a look before: lines of what is done stay with all cores
                if turn % 2 == 1 and taken & FRONTS == 0:
                    turn -= 1  # its thread is absent, and memory is faster in order
                piece = drawn(counter, count, first, BACK if turn % 2 == 1 else 1)
                if piece >= 0:
                    return piece, turn
            turn = turn // 2 * 2 + 3
        return pieces, turn

    return v.jitable(run)
