"""Reads single values of a file's metadata, checking type and range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ..errors import BadFileError
from ..gguf.values import Array, scalar

LARGEST, SMALLEST = 3.4e38, 1.2e-38  # what a float32 holds
T = TypeVar("T")


class Config:
    """Metadata under an architecture's prefix: `config.integer("block_count", 1, 1000)` reads `llama.block_count`.

    A value may also be written as an array, once or for each layer; only `integers` takes one whose elements differ.
    """

    def __init__(self, metadata: Mapping[str, Any], arch: str, path: str) -> None:
        self.metadata, self.arch, self.path = metadata, arch, path

    def fail(self, what: str) -> BadFileError:
        """The error to raise for a file that is wrong: `what` is the problem."""
        return BadFileError(f"{self.path}: {what}", "the file is damaged or was converted wrongly; get it again")

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """An integer in low..high. Raises BadFileError if it is missing without a default, or out of range."""
        return self._integer(key, self._get(key, default), low, high)

    def integers(
        self, key: str, count: int, low: int, high: int, default: Sequence[int] | None = None
    ) -> tuple[int, ...]:
        """`count` integers in low..high: one for each layer, or one for all. Raises BadFileError as `integer` does."""
        value = self.metadata.get(f"{self.arch}.{key}")
        if not isinstance(value, Array | list) or len(value) <= 1:
            if default is not None and (value is None or (isinstance(value, Array | list) and not len(value))):
                return tuple(default)
            return (self.integer(key, low, high),) * count
        if len(value) != count:
            raise self.fail(f"{self.arch}.{key} has {len(value)} elements, must have {count}")
        return tuple(self._integer(key, each, low, high) for each in value)

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A finite number in low..high, 0 or large enough to divide by. Raises BadFileError as `integer` does."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(f"{self.arch}.{key} must be a number")
        if not (math.isfinite(value) and low <= value <= high):
            raise self.fail(f"{self.arch}.{key} is {value}, must be {low:g} to {high:g}")
        if 0 < abs(value) < SMALLEST:
            raise self.fail(f"{self.arch}.{key} is {value}, too near to 0")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false, `default` if the key is missing. Raises BadFileError for another type."""
        return self._typed(key, default, bool, "true or false")

    def numbers(self, key: str, count: int) -> list[float] | None:
        """`count` numbers, of which some may be minus infinity; None for a missing key. Raises BadFileError."""
        value = self.metadata.get(f"{self.arch}.{key}")
        if value is None:
            return None
        if not isinstance(value, Array | list) or len(value) != count:
            raise self.fail(f"{self.arch}.{key} must have {count} numbers")
        if any(isinstance(n, bool) or not isinstance(n, int | float) or not n < LARGEST for n in value):
            raise self.fail(f"{self.arch}.{key} must have numbers")
        return [float(n) for n in value]

    def text(self, key: str, default: str) -> str:
        """A string, `default` if the key is missing. Raises BadFileError for another type."""
        return self._typed(key, default, str, "a string")

    def _typed(self, key: str, default: T, type: type[T], what: str) -> T:
        value = self._get(key, default)
        if not isinstance(value, type):
            raise self.fail(f"{self.arch}.{key} must be {what}")
        return value

    def flags(self, key: str, count: int) -> list[bool] | None:
        """An array of `count` booleans, None for a missing key or a single value. Raises BadFileError for others."""
        value = self.metadata.get(f"{self.arch}.{key}")
        if not isinstance(value, Array | list) or len(value) == 1 < count:
            return None
        if len(value) != count or not all(isinstance(flag, int) for flag in value):
            raise self.fail(f"{self.arch}.{key} must have {count} booleans")
        return [bool(flag) for flag in value]

    def _integer(self, key: str, value: Any, low: int, high: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(f"{self.arch}.{key} must be an integer")
        if not low <= value <= high:
            raise self.fail(f"{self.arch}.{key} is {value}, must be {low} to {high}")
        return value

    def _get(self, key: str, default: Any) -> Any:
        try:
            value = scalar(self.metadata.get(f"{self.arch}.{key}"))
        except ValueError:
            raise self.fail(f"{self.arch}.{key} differs between layers, which is not supported") from None
        if value is None and default is None:
            raise self.fail(f"{self.arch}.{key} is missing")
        return default if value is None else value
