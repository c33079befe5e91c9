"""The loop that each thread runs: the kernels of a program stage by stage, by whichever threads have a core.

Threads draw work from counters, so a stage is done when its work is drawn and every thread that is inside it has left.
One word holds the stage and the number of threads inside; the last to leave moves it on. A thread that loses its core
outside a stage delays none of the others, and a single thread never waits.

A stage of one short piece of work is not announced: whoever moved the state on does it, while the others go on waiting.
They wait for a word of its own, since every thread that enters or leaves takes the cache line of the state.
"""

from __future__ import annotations

from typing import Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet
from ..quant.simd.stretches import LINE, STRETCHES

# An operation is int64 (address of the kernel, address of its argument block, 1 if a stage ends with it, start and end
# address of the weights that are multiplied next, address of the number of its pieces of work if they are short, or 0,
# address of the counters of its stretches, or 0).
OPERATION = 56
PREFETCH_BYTES = 1 << 17  # of the next weights, at most, for each thread: what a short wait has time for
# `team` is int64: the state, the last state announced, each away from lines that are fetched with its own, then the
# program (address of the operations, their number) and the address of a function that yields the CPU.
STATE, ANNOUNCED, OPERATIONS, COUNT, YIELD, TEAM_BYTES = 0, 128, 256, 264, 272, 320
# The state is (run, first operation of the stage, closed, threads inside), from the highest bits to the lowest.
CLOSED, INSIDE, STAGE, RUN, OPERATION_BITS, RUN_BITS = 1 << 15, (1 << 15) - 1, 16, 40, (1 << 24) - 1, (1 << 22) - 1
SPINS = 2000  # of waiting before the thread yields its CPU, which another thread of the team may need


@kernel("team")
def run_program(v: InstructionSet) -> Any:
    """Run the team's program as thread `ith`: thread 0 opens it and returns when it is done, others join when they can.

    Whoever moves the state on resets the work counters of the stage before; who waits prefetches the next weights, the
    beginning of its own stretch, so that memory is busy during short operations.
    """

    opened, joined = _entering(v)
    left, wait = _leaving(v)
    is_short, reset = _is_short(v), _reset(v)

    def run(counter, ith, nth, team):
        announced = v.atomic_load(team + ANNOUNCED)  # before the state: none that comes later is missed
        state, weights, ahead, end = opened(team) if ith == 0 else joined(team), 0, 0, 0
        part = ith % STRETCHES
        while state & CLOSED == 0:
            operations, count = v.load_i64(team + OPERATIONS), v.load_i64(team + COUNT)
            first = (state >> STAGE) & OPERATION_BITS
            i, more = first, 1 if first < count else 0
            while more != 0:
                at = operations + OPERATION * i
                v.call_kernel(v.load_i64(at), v.load_i64(at + 8), ith, nth)
                if v.load_i64(at + 24) != weights:
                    weights, end = v.load_i64(at + 24), v.load_i64(at + 32)
                    ahead = weights + (end - weights) * part // min(nth, STRETCHES) // 64 * 64
                    end = min(end, ahead + PREFETCH_BYTES)
                i += 1
                more = 1 - v.load_i64(at + 16) if i < count else 0
            run_bits = (state >> RUN) << RUN
            following = run_bits | (count << STAGE) | CLOSED if first == count else run_bits | (i << STAGE) | 1
            if left(team, state, following) != 0:
                state = following
                if state & CLOSED != 0 or is_short(operations, i, count) == 0:
                    announced = state & ~INSIDE
                    v.atomic_store(team + ANNOUNCED, announced)
                reset(operations, first, i, nth)
            else:
                ahead = wait(team, announced, ahead, end)
                announced = v.atomic_load(team + ANNOUNCED)
                state = joined(team)

    return run


def _reset(v: InstructionSet) -> Any:
    """`(operations, first, last, nth)`: the work counters of operations first .. last - 1 become 0 again."""

    def run(operations, first, last, nth):
        for i in range(first, last):
            v.atomic_store(v.load_i64(operations + OPERATION * i + 8), 0)
            counters = v.load_i64(operations + OPERATION * i + 48)
            if counters != 0:
                for at in range(counters, counters + LINE * min(nth, STRETCHES), LINE):
                    v.atomic_store(at, 0)

    return v.jitable(run)


def _is_short(v: InstructionSet) -> Any:
    """`(operations, first, count)`: 1 if the stage from operation `first` on is one short piece at most, else 0."""

    def run(operations, first, count):
        i, more, short = first, 1 if first < count else 0, 1
        while more & short != 0:
            at = operations + OPERATION * i
            pieces = v.load_i64(at + 40)
            short = 1 if pieces != 0 and v.load_i64(pieces) <= 1 else 0
            i += 1
            more = 1 - v.load_i64(at + 16) if i < count else 0
        return short

    return v.jitable(run)


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
    """`left(team, state, following)` leaves the stage of `state`; `wait(team, announced, ahead, end)` waits for another
    state to be announced."""

    @v.jitable
    def left(team, state, following):
        """Leave the stage: `following` if this thread was the last and moved the state on, else 0."""
        if v.atomic_add(team + STATE, -1) & INSIDE == 1:  # without a look before, which would fetch the line twice
            return v.atomic_compare_exchange(team + STATE, state & ~INSIDE, following)
        return 0

    @v.jitable
    def wait(team, announced, ahead, end):
        spins = 0
        while v.atomic_load(team + ANNOUNCED) == announced:
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
