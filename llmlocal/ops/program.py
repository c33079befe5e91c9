"""The loop that each thread runs: the kernels of a program stage by stage, by whichever threads have a core.

Threads draw work from counters, so a stage is done when its work is drawn and every thread that is inside it has left.
One word holds the stage and the number of threads inside; the last to leave moves it on. A thread that loses its core
outside a stage delays none of the others, and a single thread never waits.
"""

from __future__ import annotations

from typing import Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet

# An operation is int64 (address of the kernel, address of its argument block, 1 if a stage ends with it, start and end
# address of the bytes to prefetch then).
OPERATION = 40
# `team` is int64: the state, on a cache line of its own, then the program (address of the operations, their number)
# and the address of a function that yields the CPU.
STATE, OPERATIONS, COUNT, YIELD, TEAM_BYTES = 0, 64, 72, 80, 128
# The state is (run, first operation of the stage, closed, threads inside), from the highest bits to the lowest.
CLOSED, INSIDE, STAGE, RUN, OPERATION_BITS, RUN_BITS = 1 << 15, (1 << 15) - 1, 16, 40, (1 << 24) - 1, (1 << 22) - 1
SPINS = 2000  # of waiting before the thread yields its CPU, which another thread of the team may need


@kernel("team")
def run_program(v: InstructionSet) -> Any:
    """Run the team's program as thread `ith`: thread 0 opens it and returns when it is done, others join when they can.

    Whoever moves the state on resets the work counters of the stage before; who waits prefetches the next weights, so
    that memory is busy during short operations.
    """

    opened, joined = _entering(v)
    left, wait = _leaving(v)

    @v.jitable
    def reset(operations, first, last):
        for i in range(first, last):
            v.atomic_store(v.load_i64(operations + OPERATION * i + 8), 0)

    def run(counter, ith, nth, team):
        state, ahead, end = opened(team) if ith == 0 else joined(team), 0, 0
        while state & CLOSED == 0:
            operations, count = v.load_i64(team + OPERATIONS), v.load_i64(team + COUNT)
            first = (state >> STAGE) & OPERATION_BITS
            i, more = first, 1 if first < count else 0
            while more != 0:
                at = operations + OPERATION * i
                v.call_kernel(v.load_i64(at), v.load_i64(at + 8), ith, nth)
                if v.load_i64(at + 32) != end:
                    ahead, end = v.load_i64(at + 24), v.load_i64(at + 32)
                i += 1
                more = 1 - v.load_i64(at + 16) if i < count else 0
            run_bits = (state >> RUN) << RUN
            following = run_bits | (count << STAGE) | CLOSED if first == count else run_bits | (i << STAGE) | 1
            if left(team, state, following) != 0:
                state = following
                reset(operations, first, i)
            else:
                ahead = wait(team, state, ahead, end)
                state = joined(team)

    return run


def _entering(v: InstructionSet) -> tuple[Any, Any]:
    """`opened(team)` begins a run, `joined(team)` enters its current stage; both give the state."""

    @v.jitable
    def opened(team):
        while True:
            state = v.atomic_load(team + STATE)
            run = (((state >> RUN) + 1) & RUN_BITS) << RUN
            if state & INSIDE == 0 and v.atomic_compare_exchange(team + STATE, state, run | 1) != 0:
                return run | 1
            v.call_plain(v.load_i64(team + YIELD))

    @v.jitable
    def joined(team):
        state = v.atomic_add(team + STATE, 1)
        if state & CLOSED != 0:
            v.atomic_add(team + STATE, -1)
        return state

    return opened, joined


def _leaving(v: InstructionSet) -> tuple[Any, Any]:
    """`left(team, state, following)` leaves the stage of `state`; `wait(team, state, ahead, end)` waits for its end."""

    @v.jitable
    def left(team, state, following):
        """Leave the stage: `following` if this thread was the last and moved the state on, else 0."""
        alone = (state & ~INSIDE) | 1
        if v.atomic_load(team + STATE) == alone and v.atomic_compare_exchange(team + STATE, alone, following) != 0:
            return 1
        if v.atomic_add(team + STATE, -1) & INSIDE == 1:
            return v.atomic_compare_exchange(team + STATE, alone - 1, following)
        return 0

    @v.jitable
    def wait(team, state, ahead, end):
        spins = 0
        while (v.atomic_load(team + STATE) ^ state) & ~INSIDE == 0:
            if ahead < end:
                v.prefetch(ahead)
                ahead += 64
                continue
            v.pause()
            spins += 1
            if spins > SPINS:
                v.call_plain(v.load_i64(team + YIELD))
        return ahead

    return left, wait
