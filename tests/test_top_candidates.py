"""The kernel that finds the best of many logits, against its reference, and the stage of the sampler on top of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instruction_sets import ISAS
from naive import run
from numpy.typing import NDArray

from llmlocal.errors import BadFileError
from llmlocal.generation.samplers.top_k import TopK
from llmlocal.ops.top_candidates import CHUNK, top_candidates, top_candidates_reference, tops_size

Logits = NDArray[np.float32]
SIZES = [1, 63, 64, 65, 600, 2048, 5000]


def found_by(isa: str | None, logits: Logits, k: int) -> tuple[int, NDArray[np.int64], Logits]:
    n, found = logits.size, np.zeros(1, np.int64)
    ids, values, tops = np.empty(n, np.int64), np.empty(n, np.float32), np.full(tops_size(n), np.nan, np.float32)
    run(top_candidates, isa, logits=logits, n=n, k=k, ids=ids, values=values, tops=tops, found=found)
    count = int(found[0])
    return count, ids[: max(count, 0)], values[: max(count, 0)]


def normal(n: int) -> Logits:
    return (np.random.default_rng(n).standard_normal(n) * 3).astype(np.float32)


SHAPES: dict[str, Callable[[int], Logits]] = {
    "normal": normal,
    "with equals": lambda n: np.round(normal(n)),
    "all equal": lambda n: np.zeros(n, np.float32),
    "ascending": lambda n: np.sort(normal(n)),
    "few allowed": lambda n: np.where(np.arange(n) % 97 == 5, normal(n), np.float32(-np.inf)),
    "none allowed": lambda n: np.full(n, -np.inf, np.float32),
    "far apart": lambda n: normal(n) * np.float32(1e30),
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_candidates_are_the_best_and_as_many_unless_many_are_equal(shape: str, isa: str) -> None:
    for n in SIZES:
        logits = SHAPES[shape](n)
        for k in (1, 2, 40, 256):
            count, ids, values = found_by(isa, logits, k)
            want = top_candidates_reference(logits, k)
            assert np.array_equal(values, logits[ids]) and (np.diff(ids) > 0).all()
            if count <= k or (shape == "normal" and k <= n // CHUNK):
                assert np.array_equal(ids, want)
            assert set(want) <= set(ids)


def test_candidates_are_few() -> None:
    """Otherwise they would be right as well, but slow."""
    assert found_by(None, normal(50_000), 40)[0] == 40


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf])
def test_the_first_that_is_not_finite_is_told(bad: float, isa: str) -> None:
    for at in (0, 7, 63, 64, 199, 200, 201):
        logits = normal(202)
        logits[[at, 201]] = bad
        assert found_by(isa, logits, 3)[0] == -1 - at


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, 1.0, -np.inf]), min_size=1, max_size=400),
    st.integers(1, 60),
)
def test_the_best_are_those_of_a_full_sort(values: list[float], k: int) -> None:
    logits = np.array(values, np.float32)
    best = TopK(k, logits.size)
    if logits.max() in (np.inf, -np.inf):
        with pytest.raises(BadFileError, match="not finite"):
            best.best(logits)
        return
    want = top_candidates_reference(logits, k)
    ids, kept = best.best(logits)
    assert ids.tolist() == want.tolist() and kept.tolist() == logits[want].tolist()


def test_more_than_there_are() -> None:
    logits = normal(50)
    assert TopK(1 << 63, 50).best(logits)[0].tolist() == list(range(50))


def test_memory_of_one_search_is_used_by_the_next() -> None:
    best = TopK(40, 5000)
    for seed in range(3):
        logits = np.random.default_rng(seed).permutation(normal(5000))
        assert best.best(logits)[0].tolist() == top_candidates_reference(logits, 40).tolist()
