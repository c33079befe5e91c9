"""The loop that each thread runs: the kernels of a program in order, with barriers between them."""

from __future__ import annotations

from typing import Any

from ..quant.jit.kernel import kernel
from ..quant.simd.instruction_set import InstructionSet

# An operation is int64 (address of the kernel, address of its argument block, 1 if a barrier follows, start and end
# address of the bytes to prefetch there). `team` is int64 (threads that arrived, phase, address of a function that
# yields the CPU), each on a cache line of its own.
OPERATION, ARRIVED, PHASE, YIELD = 40, 0, 64, 128
SPINS = 2000  # of waiting before the thread yields its CPU, which another thread of the team may need


@kernel("operations count team")
def run_program(v: InstructionSet) -> Any:
    """Run `count` operations as thread `ith` of `nth`.

    The last thread at a barrier resets the work counters of the operations before it; the others prefetch the next
    weights while they wait, so that memory is busy during short operations.
    """

    @v.jitable
    def reset(operations, first, last):
        for i in range(first, last):
            v.atomic_store(v.load_i64(operations + OPERATION * i + 8), 0)

    @v.jitable
    def barrier(operations, first, last, team, nth, ahead, end):
        phase = v.atomic_load(team + PHASE)
        if v.atomic_add(team + ARRIVED, 1) == nth - 1:
            reset(operations, first, last)
            v.atomic_store(team + ARRIVED, 0)
            v.atomic_store(team + PHASE, phase + 1)
            return ahead
        spins = 0
        while v.atomic_load(team + PHASE) == phase:
            if ahead < end:
                v.prefetch(ahead)
                ahead += 64
                continue
            v.pause()
            spins += 1
            if spins > SPINS:
                v.call_plain(v.load_i64(team + YIELD))
        return ahead

    def run(counter, ith, nth, operations, count, team):
        first, ahead, end = 0, 0, 0
        for i in range(count):
            at = operations + OPERATION * i
            v.call_kernel(v.load_i64(at), v.load_i64(at + 8), ith, nth)
            if v.load_i64(at + 32) != end:
                ahead, end = v.load_i64(at + 24), v.load_i64(at + 32)
            if v.load_i64(at + 16) != 0:
                ahead = barrier(operations, first, i + 1, team, nth, ahead, end)
                first = i + 1

    return run
