"""The k best logits: of all tokens by a kernel, of some by NumPy."""

from __future__ import annotations

from ctypes import PYFUNCTYPE, c_int64
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ops.top_candidates import top_candidates, tops_size
from ...quant.jit.linker import address_of
from .finite import not_finite

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Ids = NDArray[np.intp]

# Keeps the interpreter's lock: the kernel takes some 15 us, and to get the lock back may take much longer.
CALL = PYFUNCTYPE(None, c_int64, c_int64, c_int64)


class TopK:
    """The `k` best of logits (n_vocab,), found again and again by one thread, in memory of its own."""

    def __init__(self, k: int, n_vocab: int) -> None:
        k = min(k, n_vocab)
        self._k, self._call = k, CALL(address_of(top_candidates))
        self._ids, self._values = np.empty(n_vocab, np.int64), np.empty(n_vocab, np.float32)
        self._tops, self._found = np.empty(tops_size(n_vocab), np.float32), np.zeros(1, np.int64)
        places: dict[str, NDArray[Any]] = {
            "ids": self._ids,
            "values": self._values,
            "tops": self._tops,
            "found": self._found,
        }
        addresses = {name: int(array.ctypes.data) for name, array in places.items()}
        self._block = np.array(top_candidates.block(logits=0, n=n_vocab, k=k, **addresses), np.int64)
        self._block_address, self._logits_at = self._block.ctypes.data, 1 + top_candidates.fields.index("logits")

    def best(self, logits: F32) -> tuple[Ids, F32]:
        """Ascending ids of the `k` best that are not -inf, of equal ones the lower ids, and their logits.

        Both hold until the next call. Raises BadFileError where logits are not finite, or all are -inf.
        """
        logits = np.ascontiguousarray(logits, np.float32)
        self._block[self._logits_at] = logits.ctypes.data
        self._call(self._block_address, 0, 1)
        found = int(self._found[0])
        if found <= 0:
            raise not_finite(logits, max(0, -1 - found))
        ids, values = self._ids[:found], self._values[:found]
        if found <= self._k:
            return ids, values
        chosen = best_of(values, self._k)
        return ids[chosen], values[chosen]


def best_of(candidates: F32 | F64, k: int) -> Ids:
    """Ascending indices of the `k` best of logits (tokens,), none of them -inf, 0: of all; of equal ones the first."""
    if not 0 < k < candidates.size:
        return np.arange(candidates.size)
    ranked = candidates.copy()
    ranked.partition(ranked.size - k)
    chosen: Ids = (candidates >= ranked[ranked.size - k]).nonzero()[0]
    if chosen.size > k:  # because of equal logits
        chosen = np.sort(chosen[np.argsort(-candidates[chosen], kind="stable")[:k]])
    return chosen


def top_k(logits: F64, k: Any) -> Ids:
    """As a stage of the chain: indices as of `best_of` of finite logits (tokens,), or of those that are not -inf."""
    possible: Ids = (logits > -inf).nonzero()[0]
    return possible[best_of(logits[possible], int(k))]
