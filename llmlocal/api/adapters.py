"""LoRA adapters as arguments: a path, or several, each alone or with a factor."""

from __future__ import annotations

import os
from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from typing import Any

from .options import require

Where = str | os.PathLike[str]
Adapters = Where | Iterable[Where | tuple[Where, float]]


def adapters(given: Adapters) -> list[tuple[Path, float]]:
    """The adapters as `Session.open` takes them. Raises UsageError for anything else."""
    if isinstance(given, str | os.PathLike):
        return [(Path(given), 1.0)]
    require(isinstance(given, Iterable), "lora", given, "a path, or paths and pairs of a path and a number")
    return [_adapter(one) for one in given]


def _adapter(one: Any) -> tuple[Path, float]:
    path, scale = one if isinstance(one, tuple) and len(one) == 2 else (one, 1.0)
    number = isinstance(scale, int | float) and not isinstance(scale, bool) and isfinite(scale)
    valid = isinstance(path, str | os.PathLike) and number
    require(valid, "lora", one, "a path, or a pair of a path and a finite number")
    return Path(path), float(scale)
