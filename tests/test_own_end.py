"""Work that threads draw: every piece is done once, and of two threads each keeps to its end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmlocal.quant.simd.own_end import piece


@given(st.integers(0, 40), st.integers(1, 5), st.randoms())
def test_every_piece_is_done_once(pieces: int, threads: int, random: object) -> None:
    done: list[list[int]] = [[] for _ in range(threads)]
    for taken in range(pieces):
        thread = random.randrange(threads)  # type: ignore[attr-defined]
        done[thread].append(piece(taken, len(done[thread]), pieces, thread, threads))
    assert sorted(n for each in done for n in each) == list(range(pieces))
    if threads == 2:
        first, second = done
        assert first == list(range(len(first))) and second == list(range(pieces - 1, len(first) - 1, -1))
