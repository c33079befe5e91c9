"""Limits on what an untrusted template may use: steps, seconds, sizes. Counts what the sandbox reports.

Needs no thread, process or signal: the sandbox reports every block, call, filter, comparison and item of a generator,
and no operation between two reports takes more than linear time in `max_size` characters. So also Ctrl-C acts soon.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from time import thread_time
from typing import Any, TypeVar

from .origin import is_user

T = TypeVar("T")
STEPS, SECONDS, SIZE = 250_000, 0.7, 1 << 20  # limits for the shortest conversation
STEPS_A_VALUE, SECONDS_A_VALUE = 200, 0.001  # additional for each input value; seconds are CPU time
ROUNDS = 32  # total size of texts, in units of several megabytes and the size of the input
ENTRY = 16  # size of a list entry, besides its own text
INTEGER_BITS = 60  # larger ones could be chosen so that all have the same hash
ITEMS = 64  # between two looks at the clock
CONTAINERS = (list, tuple, set, frozenset, dict)


class OverBudgetError(Exception):
    """The template exceeds a limit; the message names it."""


class Budget:
    """The budget of one rendering; it grows with the size of `inputs`, the template's variables."""

    def __init__(self, inputs: Mapping[str, Any], start: float | None = None) -> None:
        """`start` is the `thread_time()` of the first of several renderings: all take at most twice the time of one."""
        self._known: dict[int, tuple[object, int, bool]] = {}  # by id; the object is kept, so that its id stays its own
        self.max_size = 1 << 62
        size = sum(self._measured(value)[0] for value in inputs.values())
        values = len(self._known)
        self.max_size = SIZE + 8 * size
        self._steps = STEPS + STEPS_A_VALUE * values
        self._room = ROUNDS * (4 * SIZE + 8 * size)
        seconds, now = SECONDS + SECONDS_A_VALUE * values, thread_time()
        self._end = min(now, (now if start is None else start) + seconds) + seconds

    def tick(self) -> bool:
        """Count one step. Returns True, for use in expressions. Raises OverBudgetError."""
        self._steps -= 1
        if self._steps < 0 or thread_time() > self._end:
            raise OverBudgetError("it takes too many steps")
        return True

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """The items, with a look at the clock now and then. Raises OverBudgetError."""
        for i, item in enumerate(items):
            if not i % ITEMS and thread_time() > self._end:
                raise OverBudgetError("it takes too many steps")
            yield item

    def size(self, value: object) -> int:
        """Size of `value` when written out."""
        return self._measured(value)[0]

    def allow(self, size: int) -> None:
        """Raises OverBudgetError where a text or list of `size` would be too large."""
        if size > self.max_size:
            raise OverBudgetError("it makes a text or list that is too large")

    def hold(self, value: T) -> T:
        """Charge for `value`, which the template has just created, and return it. Raises OverBudgetError."""
        if isinstance(value, str):
            self._charge(len(value))
        elif isinstance(value, CONTAINERS):
            self._charge(ENTRY * len(value))
            self._measured(value)
        elif isinstance(value, int) and value.bit_length() > INTEGER_BITS:
            raise OverBudgetError("it makes a number that is too large")
        return value

    def is_marked(self, value: object) -> bool:
        """Whether `value` contains user text at any depth; True where that is unknown."""
        return self._measured(value)[1]

    def _charge(self, size: int) -> None:
        self.allow(size)
        self._room -= size
        if self._room < 0:
            raise OverBudgetError("it makes too many large texts or lists")

    def _measured(self, value: object) -> tuple[int, bool]:
        """Size of `value` when written out, and whether it is marked; cached, since lists are immutable here."""
        if isinstance(value, str):
            return ENTRY + len(value), is_user(value)
        if value is None or isinstance(value, (int, float)):
            return ENTRY, False
        if not isinstance(value, CONTAINERS):
            return ENTRY, True
        if id(value) not in self._known:
            size, marked = ENTRY, False
            for part in (value, value.values()) if isinstance(value, dict) else (value,):
                for item in part:
                    more, also = self._measured(item)
                    size, marked = size + more, marked or also
                    self.allow(size)
            self._known[id(value)] = (value, size, marked)
        return self._known[id(value)][1:]
