"""Windows of attention: which keys a position needs, and how many cells a layer with a window keeps.

Rules without NumPy, so that `show` can tell what a run takes.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ops.attention_chunk import CHUNK
from ..ops.kv.kv_type import ALIGN, padded

UBATCH = 512  # tokens of a batch at most, by default
SLACK = 64  # cells beyond the window and a batch: how many tokens can be taken back at least without reading again


class Chunk(int):
    """A window that begins at a multiple of its size: tokens attend to keys of their own chunk of the context."""


def first_key(window: int, position: int) -> int:
    """Position of the first key that the token at `position` attends to."""
    return position // window * window if isinstance(window, Chunk) else max(position - window + 1, 0)


def first_token(window: int, key: int) -> int:
    """The first position whose token needs no key before position `key`."""
    if isinstance(window, Chunk):
        return -(-key // window) * window
    return key + window - 1 if key else 0


def kept_end(first: int, end: int, length: int, window: int) -> int:
    """Where a copy of positions first .. end - 1 ends when it is cut to `length` tokens.

    0 where it then lacks keys that the next token needs.
    """
    end = min(end, length)
    return end if first <= first_key(window, end) else 0


def ring_cells(window: int | None, n_ctx: int, ubatch: int) -> int:
    """Cells of a sequence in a layer with this window: those of the whole context, or a ring of whole chunks.

    All keys of a batch are stored before the first of its tokens is computed, which needs a window of keys before it.
    """
    ring = -(-((window or n_ctx) + ubatch + SLACK) // CHUNK) * CHUNK
    return min(padded(n_ctx), ring)


def checkpoint_cells(window: int, cells: int, n_ctx: int) -> int:
    """Cells of a checkpoint of a window; 0 where a ring of `cells` holds the whole context."""
    return padded(window) + ALIGN if cells < padded(n_ctx) else 0


def sliding_blocks(blocks: int, period: int, pattern: Sequence[bool] | None) -> list[bool]:
    """Which of the blocks have a window: those of the pattern, or all but the last of every `period` (0: all)."""
    if pattern is not None:
        return list(pattern)
    return [not period or i % period < period - 1 for i in range(blocks)]
