"""A draft in simulated time: a clock, a draft that is right with a chance, and a random text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np


class Clock:
    """Seconds that pass only when something is said to take them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class SimulatedDraft:
    """A draft that is right with the chance `right`, one token after the other; each takes `token` seconds."""

    name = "simulated"

    def __init__(self, clock: Clock, text: Sequence[int], right: float, token: float, read: float) -> None:
        self.clock, self.text, self.right, self.share = clock, text, right, token
        self._token, self._read, self._rng, self.held = token, read, np.random.default_rng(3), 0
        self.read_tokens = 0

    def unread(self, ids: Sequence[int]) -> int:
        self.held = min(self.held, len(ids) - 1)
        return len(ids) - self.held

    def read(self, ids: Sequence[int], most: int) -> int:
        n = min(most, self.unread(ids) - 1)
        self.held, self.read_tokens = self.held + n, self.read_tokens + n
        self.clock.now += n * self._read
        return n

    def continuations(self, texts: Sequence[Sequence[int]], choose: Any) -> Iterator[list[tuple[int, float]]]:
        (ids,) = texts
        n = self.unread(ids)
        self.clock.now += self._token if n == 1 else max(self._token, n * self._read)
        at = len(ids)
        while at < len(self.text):
            hit = self._rng.random() < self.right
            yield [((self.text[at] if hit else -1), self.right)]
            self.held, at = at, at + 1
            self.clock.now += self._token


def random_text(n: int, seed: int = 1) -> list[int]:
    return np.random.default_rng(seed).integers(0, 5000, n).tolist()
