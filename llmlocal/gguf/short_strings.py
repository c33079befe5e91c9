"""The strings of a long array, found all at once instead of one after the other. Needs NumPy."""

from __future__ import annotations

from array import array

import numpy as np

LENGTH = 8  # bytes of a length field
TYPICAL, SHORTEST = 24, LENGTH  # bytes of a token with its length, at first, and at least


def short_string_ends(view: memoryview, count: int) -> array[int] | None:
    """Where each of `count` strings with their length fields ends, from the beginning of `view`.

    None unless each has 1 to 255 bytes and they lie in `view`, or where zeros in them could be taken for a length.
    """
    most = min(len(view), count * (255 + SHORTEST))
    size = min(most, count * TYPICAL)
    while True:
        ends = _ends(np.frombuffer(view[:size], np.uint8), count)
        if ends is None or len(ends) == count:
            return ends if ends and ends[-1] <= len(view) else None
        if size == most:
            return None
        size = min(most, 2 * size)


def joined(stored: memoryview, ends: array[int]) -> bytes:
    """The strings, without their length fields and with a NUL between them. `ends` is not empty."""
    data = np.array(stored, np.uint8)
    starts = np.zeros(len(ends), np.uint64)
    starts[1:] = np.frombuffer(ends, np.uint64)[:-1]
    kept = np.ones(len(data), np.bool_)
    for byte in range(LENGTH - 1):
        kept[starts + np.uint64(byte)] = False
    data[starts + np.uint64(LENGTH - 1)] = 0
    return data[kept].tobytes()[1:]


def _ends(data: np.ndarray[tuple[int], np.dtype[np.uint8]], count: int) -> array[int] | None:
    """As above, of those strings whose length fields lie in `data`, `count` at most."""
    zero = data == 0
    two = zero[:-1] & zero[1:]
    four = two[:-2] & two[2:]
    seven = four[:-3] & four[3:]  # the upper bytes of a length
    starts = np.flatnonzero(seven)[:count] - 1
    if not len(starts) or starts[0] != 0:
        return None
    ends = starts + LENGTH + data[starts]
    if (starts[1:] != ends[:-1]).any() or not data[starts].all():
        return None
    return array("Q", ends.astype(np.uint64).tobytes())
