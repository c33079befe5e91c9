"""Work that threads draw from stretches of their own: every piece is done once, and each keeps to its stretch."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive import run

from llmlocal.quant.jit.kernel import CALL, Kernel
from llmlocal.quant.jit.linker import address_of
from llmlocal.quant.simd.instruction_set import InstructionSet
from llmlocal.quant.simd.stretches import STRETCHES, counters_at, next_piece


def _build(v: InstructionSet) -> Any:
    following, counters = next_piece(v), counters_at(4)

    def body(counter, ith, nth, pieces, most, log, ends):  # type: ignore[no-untyped-def]
        done, (piece, turn) = 0, following(counter + counters, ith, nth, pieces, 0)
        while piece < pieces:
            v.store(log + 8 * v.atomic_add(ends, 1), piece)
            done += 1
            if done < most:
                piece, turn = following(counter + counters, ith, nth, pieces, turn)
            else:
                piece = pieces

    return body


DRAW = Kernel("draw_pieces", ("pieces", "most", "log", "ends"), _build, stretches=True)


@given(st.integers(0, 70), st.integers(1, STRETCHES + 4), st.data())
def test_each_piece_is_done_once_in_the_order_of_stretches(pieces: int, threads: int, data: st.DataObject) -> None:
    """Threads come in any order, some never; the last one has no end."""
    log, ends = np.zeros(pieces + 1, np.int64), np.zeros(1, np.int64)
    block = np.array(DRAW.block(pieces=pieces, most=0, log=log.ctypes.data, ends=ends.ctypes.data), np.int64)
    turns = data.draw(st.lists(st.tuples(st.integers(0, threads - 1), st.integers(1, 9)), max_size=12))
    call, stretches, last = CALL(address_of(DRAW)), min(threads, STRETCHES), 0
    bounds = [pieces * i // stretches for i in range(stretches + 1)]
    left, begun = [list(range(a, b)) for a, b in pairwise(bounds)], set()
    for thread, most in [*turns, (0, 1000)]:
        block[2], expected = most, []
        for turn in range(stretches):
            at = (thread + turn) % stretches
            in_order = turn == 0 or at not in begun
            while left[at] and len(expected) < most:
                expected.append(left[at].pop(0 if in_order else -1))
                begun.update({at} if in_order else ())
        call(block.ctypes.data, thread, threads)
        assert log[last : int(ends[0])].tolist() == expected
        last = int(ends[0])
    assert last == pieces and not any(left)


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_at_the_same_time(threads: int) -> None:
    pieces = 20_000
    log, ends = np.zeros(pieces, np.int64), np.zeros(1, np.int64)
    run(DRAW, threads=threads, pieces=pieces, most=pieces + 1, log=log, ends=ends)
    assert np.array_equal(np.sort(log), np.arange(pieces))
