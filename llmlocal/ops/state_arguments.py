"""What every kernel with a recurrent state is given of it."""

from __future__ import annotations

from typing import NamedTuple


class StateArguments(NamedTuple):
    """The first arguments: which tokens each thread goes through, and where states are read and written.

    See `runtime.state_cache`; each kernel says what a state holds.
    """

    runs: int  # address of their number; segments of a run follow each other
    run_starts: int  # (runs + 1,) int64: the first segment of each run
    segments: int  # (segments, 4) int64: first token, end, and the slots that a state is read from and written to
    state: int
    slot_bytes: int


STATE = len(StateArguments._fields)  # how many there are
