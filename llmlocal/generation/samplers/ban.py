"""Texts that must not occur: whatever tokens they would come in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.intp]


class Ban:
    """Forbids the tokens that would complete one of `texts`; `pieces` are the bytes of each token, n_vocab of them.

    Raises ValueError for an empty text.
    """

    def __init__(self, texts: Sequence[bytes], pieces: Sequence[bytes]) -> None:
        if not all(texts):
            raise ValueError("an empty text cannot be banned")
        self.texts = tuple(texts)
        self._pieces, self._longest = pieces, max(map(len, texts), default=0)
        self._within = _ids(pieces, lambda piece: any(text in piece for text in texts))
        self._ends: Mapping[bytes, Ids] = {
            text[:n]: ids
            for text in texts
            for n in range(1, len(text))
            if (ids := _ids(pieces, lambda piece, rest=text[n:]: piece.startswith(rest))).size  # type: ignore[misc]
        }

    def forbid(self, logits: NDArray[np.float32], said: Sequence[int]) -> None:
        """Set the logits (n_vocab,) of those tokens to -inf, in place, after the ids `said`."""
        logits[self._within] = -np.inf
        tail = b""
        for id in reversed(said):
            if len(tail) >= self._longest:
                break
            tail = self._pieces[id] + tail
        for beginning, ids in self._ends.items():
            if tail.endswith(beginning):
                logits[ids] = -np.inf


def _ids(pieces: Sequence[bytes], chosen: Callable[[bytes], bool]) -> Ids:
    return np.array([id for id, piece in enumerate(pieces) if chosen(piece)], np.intp)
