"""Damaged inputs: how they are drawn and made, and what must come of them."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from gguf_bytes import sample

from llmlocal.errors import LlmlocalError

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")
Said = Callable[..., tuple[int, str, str]]
Lane = Callable[[str, int], Iterator[tuple[int, random.Random]]]
SEED = 22
FEW = 6  # inputs of each lane that the default lane of the tests has time for
DOCUMENTED = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
NUMBERS = [0, -1, 1, 3, 127, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**64, 10**400, 1e308, -1e308, 1e-320, 0.5]
DEEP: Any = 0
for _ in range(300):
    DEEP = {"type": "Sequence", "normalizers": [DEEP]}
HOSTILE: list[Any] = [
    *NUMBERS,
    *(None, True, False, "", "\ud800", "\x1b[2J", "a\nb", "x" * 5000, "../../x", [], {}, [[]], [None], {"": {}}),
    *(float("nan"), float("inf"), float("-inf"), [1] * 1000, {"type": "x"}, {"rope_type": "llama3", "factor": 1e308}),
    *(DEEP, DEEP["normalizers"], ["x", 10**400], "(a+)+$", "1e999"),
]


def one(lane: str, number: int) -> random.Random:
    return random.Random(f"{SEED} {lane} {number}")


def inputs(lane: str, count: int) -> Iterator[tuple[int, random.Random]]:
    """Number and source of chance for each input of a lane, which usually has `count`."""
    first, count = int(os.environ.get("LLMLOCAL_FUZZ_FROM", "0")), int(os.environ.get("LLMLOCAL_FUZZ", str(count)))
    for number in range(first, first + count):
        yield number, one(lane, number)


@pytest.fixture
def lane(request: pytest.FixtureRequest) -> Lane:
    """As `inputs`, with a few inputs of each lane where slow tests do not run."""
    slow = request.config.getoption("--slow")
    return lambda name, count: inputs(name, count if slow else FEW)


@contextmanager
def contract(number: int) -> Iterator[None]:
    """What happens within is a success, or one line with a documented code, soon."""
    try:
        yield
    except LlmlocalError as error:
        assert str(error).isprintable(), f"#{number}: {error!r}"
        assert error.exit_code in DOCUMENTED, f"#{number}: {error!r}"
    except Exception as error:
        raise AssertionError(f"input #{number} of seed {SEED}: {type(error).__name__}: {error}") from error


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes with a few changes: bits, numbers, cuts, copies."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(changed) or 1)
        how = rng.randrange(6)
        if how == 0 and changed:
            changed[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            changed[at : at + 8] = rng.choice((0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)).to_bytes(8, "little")
        elif how == 2:
            changed[at : at + 4] = rng.randrange(2**32).to_bytes(4, "little")
        elif how == 3:
            del changed[at : at + rng.randrange(1, 64)]
        elif how == 4:
            changed[at:at] = changed[(begin := rng.randrange(len(changed) or 1)) : begin + rng.randrange(64)]
        elif rng.random() < 0.2:
            del changed[at:]
    return bytes(changed)


def altered(value: Any, rng: random.Random) -> Any:
    """JSON with something hostile somewhere in it."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        rest = {name: item for name, item in value.items() if name != key}
        how = rng.random()
        return (
            rest if how < 0.1 else {**rest, (str(rng.choice(HOSTILE)) if how < 0.15 else key): altered(value[key], rng)}
        )
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(min(len(value), 50))
        return [*value[:at], *([] if rng.random() < 0.2 else [altered(value[at], rng)]), *value[at + 1 :]]
    return rng.choice(HOSTILE)


def written(value: Any) -> bytes:
    return json.dumps(value).encode()


def kept(said: Said, number: int, *arguments: str | Path) -> None:
    """The contract for a command: a documented code, nothing or one line and a hint on stderr."""
    code, _, err = said(*arguments)
    lines = [line for line in err.splitlines() if not line.startswith("hint: ")]
    assert code in DOCUMENTED, f"#{number}: {code} {err}"
    assert (code == 0) or len([line for line in lines if line.startswith("error: ")]) == 1, f"#{number}: {err}"
    assert "Warning" not in err and "Traceback" not in err, f"#{number}: {err}"


@cache
def models() -> list[bytes]:
    """Files of small models."""
    with TemporaryDirectory() as folder:
        make_model.make_model("tiny-llama", path := Path(folder) / "model.gguf")
        return [sample(), path.read_bytes()]
