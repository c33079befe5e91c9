"""Going on with a batch: the rows that have a result already, and whether the results are of this batch."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ..errors import UsageError
from .rows import Row
from .run import SEEDS, Result

KEY_DIGITS = 16
SEED_BITS = 32  # of a seed that nobody has chosen: a short number


@dataclass(frozen=True, slots=True)
class Done:
    """What a file of results holds: how many, how many of them failed, and the seed of the batch if one says it."""

    count: int = 0
    failed: int = 0
    seed: int | None = None


def keyed(rows: Iterable[Row], settings: Mapping[str, Any]) -> Iterator[tuple[Row, str]]:
    """Rows with their keys: digests of a row and of all settings that its answer depends on."""
    base = sha256(json.dumps(settings, sort_keys=True, default=str).encode("utf-8", "surrogatepass") + b"\0")
    for row in rows:
        digest = base.copy()
        digest.update(row.source)
        yield row, digest.hexdigest()[:KEY_DIGITS]


def skip(rows: Iterator[tuple[Row, str]], kept: Iterable[Result]) -> Done:
    """Take the rows of the results that are kept from `rows`. Raises UsageError where they do not belong together."""
    done = Done()
    for result in kept:
        row, key = next(rows, (None, None))
        number = result["row"]
        if row is None:
            raise UsageError(f"the output has a result of row {number}, the input has {done.count} rows", HINT)
        if result.get("key") != key:
            raise UsageError(f"row {number} of the output has another input, or other options", HINT)
        seed = result.get("seed")
        known = (seed - number) % SEEDS if done.seed is None and isinstance(seed, int) else done.seed
        done = Done(done.count + 1, done.failed + ("error" in result), known)
    return done


def first_seed(given: int | None, done: Done) -> int:
    """The seed of a batch: the one that was given, otherwise that of the results that are done, otherwise any."""
    if given is not None:
        return given
    return secrets.randbits(SEED_BITS) if done.seed is None else done.seed


HINT = "--resume needs the model, input and options of the first run; --force begins anew"
