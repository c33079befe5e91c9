"""Random edits of two conversations, whose logits must be those of texts that are read afresh."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from families.converted import write_converted
from naive import nmse

from llmlocal.engine import Engine

BOUND = 1e-9  # of logits in float32, which way ever a sequence was read


def fixtures(cases: Sequence[Any], opened: Callable[..., Engine]) -> tuple[Any, Any, Any]:
    """`path` of each case's model, `fresh`, an engine that reads every sequence from its beginning, and `engine`."""

    @pytest.fixture(scope="module", params=cases)
    def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_converted(request.param, tmp_path_factory.mktemp(request.param))

    @pytest.fixture(scope="module")
    def fresh(path: Path) -> Iterator[Engine]:
        engine = opened(path)
        yield engine
        engine.close()

    @pytest.fixture
    def engine(path: Path) -> Iterator[Engine]:
        engine = opened(path, n_seqs=2)
        yield engine
        engine.close()

    return path, fresh, engine


def read(engine: Engine, tokens: list[int]) -> np.ndarray:
    engine.truncate(0)
    return engine.prefill(tokens)


def check_truncation(engine: Engine, fresh: Engine, tokens: list[int], length: int) -> None:
    """A sequence that is cut to `length` tokens goes on as one that was never longer."""
    read(engine, tokens)
    engine.truncate(length)
    assert engine.history() == tokens[:length]
    assert nmse(engine.prefill([7, 8, 9]), read(fresh, [*tokens[:length], 7, 8, 9])) <= BOUND


def check_two_sequences(engine: Engine, fresh: Engine, a: list[int], b: list[int]) -> None:
    """Two sequences that begin with `a` and `b` go on as each would alone."""
    engine.prefill(a, 0)
    engine.prefill(b, 1)
    got = engine.run([(1, [7]), (0, [8])], [0, 1])
    assert nmse(got[0], read(fresh, [*b, 7])) <= BOUND
    assert nmse(got[1], read(fresh, [*a, 8])) <= BOUND
    engine.truncate(11, 1)
    assert nmse(engine.decode(9, 0), read(fresh, [*a, 8, 9])) <= BOUND
    assert nmse(engine.decode(9, 1), read(fresh, [*b[:11], 9])) <= BOUND


def edited(engine: Engine, fresh: Engine, seed: int, edits: int) -> dict[str, int]:
    """Append, truncate, retry, ask something else, switch to the other sequence, or take over what it begins with.

    `engine` has two sequences and is closed in the end. Returns what was met on the way, by name.
    """
    rng, held, met = Random(seed), list[list[int]]([[], []]), {"read again": 0, "copied": 0}
    for _ in range(edits):
        seq, before = rng.randrange(2), [[*some] for some in held]
        new = [rng.randrange(3, 40) for _ in range(rng.choice((1, 1, 2, 9, 40, 150, 300)))]
        if len(held[seq]) + len(new) > engine.n_ctx:
            held[seq] = []
            engine.truncate(0, seq)
        if rng.random() < 0.3:
            cut = rng.randrange(len(held[seq]) + 1)
            engine.truncate(cut, seq)
            held[seq] = held[seq][:cut]
        way = rng.random()
        if way < 0.5:
            prompt = [*held[seq][: rng.randrange(len(held[seq]) + 1)], *new]
            met["read again"] += engine.behind_window(prompt, seq) > 0
            logits = engine.prefill(prompt[engine.reuse(prompt, seq) :], seq)
        elif way < 0.6:
            other = held[1 - seq]
            prompt = [*other[: rng.randrange(len(other) + 1)], *new][: engine.n_ctx]
            kept = engine.copy_prefix(prompt, 1 - seq, seq)
            met["copied"] += kept > 0
            logits = engine.prefill(prompt[kept:], seq)
        else:
            prompt, logits = [*held[seq], *new], engine.prefill(new, seq)
        held[seq] = prompt
        assert engine.history(seq) == prompt and held[1 - seq] == before[1 - seq]
        assert nmse(logits, read(fresh, prompt)) <= BOUND
    engine.close()
    return met
