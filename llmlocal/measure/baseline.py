"""Compares a benchmark with an earlier one, read from the files of `bench -o json` or `jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadFileError, NotFoundError, UsageError
from ..files.small_file import read_small_text
from ..text import escaped
from .bench import BenchResult

Key = tuple[str, str, int, str]
LARGEST = 1 << 26  # bytes of a file that could be a benchmark
MAKE_ONE = "make one with bench -o json"


@dataclass(frozen=True, slots=True)
class SpeedChange:
    """A benchmark result, and the speed in tokens/s `before`."""

    row: BenchResult
    before: float

    @property
    def ratio(self) -> float:
        return self.row.mean / self.before


def key(row: BenchResult) -> Key:
    """What two comparable results share: model, test, threads, KV cache type."""
    return row.model.stem, row.name, row.n_threads, row.kv_type


def read(path: Path) -> dict[Key, float]:
    """Tokens/s of every test in `path`. Raises NotFoundError, BadFileError."""
    try:
        text = read_small_text(path, LARGEST)
    except (NotFoundError, BadFileError) as error:
        raise type(error)(str(error), MAKE_ONE) from None
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        whole = {"rows": _lines(path, text)}
    rows = whole.get("rows", [whole]) if isinstance(whole, dict) else None
    if not isinstance(rows, list) or not rows:
        raise _fail(path)
    return dict(_entry(path, record) for record in rows)


def changes(rows: Iterable[BenchResult], before: dict[Key, float]) -> list[SpeedChange]:
    """The results whose test is in the baseline. Raises UsageError where there are none."""
    found = [SpeedChange(row, before[key(row)]) for row in rows if key(row) in before]
    if not found:
        raise UsageError(
            "the baseline has none of these tests", "run the same model, tests and threads as for the baseline"
        )
    return found


def slower(found: Iterable[SpeedChange], percent: float) -> list[SpeedChange]:
    """Changes with a speed more than `percent` below the baseline."""
    return [change for change in found if change.ratio < 1 - percent / 100]


def percentage(text: str) -> float:
    """ "5%" or "5" as 5.0. Raises UsageError."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise UsageError(f"--fail-below {text}: must be a percentage such as 5%")
    return value


def _lines(path: Path, text: str) -> list[Any]:
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise _fail(path) from error


def _entry(path: Path, record: Any) -> tuple[Key, float]:
    try:
        name = record["model"], record["test"], record["threads"], record["kv_type"]
        speed = float(record["tokens_per_second"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _fail(path) from error
    if [type(part) for part in name] != [str, str, int, str] or not 0 < speed < float("inf"):
        raise _fail(path)
    return name, speed


def _fail(path: Path) -> BadFileError:
    return BadFileError(f"{escaped(str(path))}: not a benchmark", MAKE_ONE)
