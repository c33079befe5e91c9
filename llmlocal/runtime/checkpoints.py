"""Which states of a sequence are kept as checkpoints, and how many: rules without NumPy, so that `show` can tell.

A recurrent state holds all tokens before it and cannot be cut back. A shorter sequence goes on from the last checkpoint
within it, and the tokens after that are read again. The same holds where a sequence becomes shorter than what a ring of
cells holds of it; there a checkpoint is a copy of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

INTERVAL = 512  # tokens from one checkpoint to the next
TAIL = 16  # tokens before the end of a prompt where one is kept: longer than what a chat template ends it with
MEMORY = 128 << 20  # bytes of all checkpoints, unless FEWEST take more
FEWEST, MOST = 4, 64
VERIFIED_MEMORY, FEWEST_VERIFIED = 256 << 20, 4  # of states between tokens that are verified: bytes, and the fewest
WINDOW_MEMORY, MOST_WINDOWS = 32 << 20, 16  # of checkpoints of windows: bytes, unless one takes more, and their number


def capacity(state_bytes: int, n_seqs: int = 1) -> int:
    """Checkpoints that each of `n_seqs` sequences keeps, for states of `state_bytes`."""
    return min(max(MEMORY // max(state_bytes * n_seqs, 1), FEWEST), MOST)


def verified_tokens(state_bytes: int, wanted: int) -> int:
    """Tokens that one run may take back, `wanted` at most, for states of `state_bytes`: a state is kept after each."""
    return min(max(VERIFIED_MEMORY // max(state_bytes, 1), FEWEST_VERIFIED), wanted)


def between_slots(state_bytes: int, wanted: int, n_seqs: int = 1) -> int:
    """States that are kept for them besides the current one: each of `n_seqs` sequences may rest in one of them."""
    return verified_tokens(state_bytes, wanted) - 1 + n_seqs if wanted > 1 else 0


def window_capacity(window_bytes: int, n_seqs: int = 1) -> int:
    """Checkpoints of windows that each of `n_seqs` sequences keeps, none where they have no bytes."""
    return min(max(WINDOW_MEMORY // (window_bytes * n_seqs), 1), MOST_WINDOWS) if window_bytes else 0


def kept_bytes(state_bytes: int, n_seqs: int = 1) -> int:
    """Bytes of all states: the current one of each sequence, and its checkpoints."""
    return state_bytes * n_seqs * (1 + capacity(state_bytes, n_seqs))


def stops(start: int, end: int, wanted: int) -> list[int]:
    """The positions in start + 1 .. end after which a state is kept: multiples of INTERVAL, and `wanted`."""
    regular = range(start // INTERVAL * INTERVAL + INTERVAL, end + 1, INTERVAL)
    return sorted({*regular, wanted} if start < wanted <= end else regular)


def least_useful(positions: Sequence[int], end: int) -> int:
    """The checkpoint to give up when a sequence of `end` tokens has too many: `positions` ascending, without 0.

    It is the one whose loss makes the smallest gap in relation to its distance from the end, so that checkpoints are
    dense near the end, where conversations go back to, and sparse before.
    """
    around = zip((0, *positions), positions, (*positions[1:], end), strict=False)
    return min(around, key=lambda p: ((p[2] - p[0]) / (end - p[1] + INTERVAL), p[1]))[1]


def agreed(length: int, *reachable: Callable[[int], int]) -> int:
    """The most tokens, `length` at most, that all of `reachable` can go back to; each gives its own most."""
    while (least := min(reach(length) for reach in reachable)) < length:
        length = least
    return length
