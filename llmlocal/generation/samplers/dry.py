"""DRY (p-e-w 2024): tokens that would go on with a repetition are penalized, the more the longer it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from math import log

import numpy as np

LARGEST = 3e38  # of a float32: more would be infinite
FLAT = 1.000001  # with a base up to here the penalty does not grow without end


def dry(
    history: Sequence[int], multiplier: float, base: float, allowed: int, breakers: Set[int]
) -> Mapping[int, float]:
    """What is subtracted from the logits of ids that went on with earlier occurrences of the end of `history`.

    Of a repetition of n tokens it is `multiplier` * `base` ** (n - `allowed`), nothing where n is smaller than
    `allowed`. A repetition does not reach back over an id of `breakers`.
    """
    ids = np.array(history, np.int64)
    since = next((n for n, id in enumerate(reversed(history)) if id in breakers), ids.size)
    if ids.size <= allowed or since < allowed:
        return {}
    longest: dict[int, int] = {}
    ends = np.arange(ids.size - 1)  # where an earlier occurrence may end
    for n in range(since + 1):
        if n >= allowed:
            longest.update(dict.fromkeys(ids[ends + 1].tolist(), n))
        ends = ends[ends >= n]
        ends = ends[ids[ends - n] == ids[ids.size - 1 - n]] if n < ids.size else ends[:0]
        if not ends.size:
            break
    most = int(log(LARGEST) / log(base)) if base > FLAT else max(longest.values(), default=0)
    return {id: min(multiplier * base ** min(n - allowed, most), LARGEST) for id, n in longest.items()}
