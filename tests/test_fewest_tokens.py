"""The fewest tokens with a mass are those that a full sort finds, also where keys are equal or far apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmlocal.generation.samplers import fewest as module
from llmlocal.generation.samplers.fewest import SORTED, fewest
from llmlocal.generation.samplers.softmax import softmax

F64 = NDArray[np.float64]


def by_sorting(probabilities: F64, keys: F64, limit: float) -> list[int]:
    order, total, kept = np.argsort(keys, kind="stable").tolist(), 0.0, []
    for id in order:
        kept.append(id)
        total += float(probabilities[id])
        if total >= limit:
            break
    return sorted(kept)


def keys_of(probabilities: F64, kind: str) -> F64:
    surprisal = -np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return -probabilities if kind == "top_p" else np.abs(surprisal - probabilities @ surprisal)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 1500),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.01, 1.0, 4.0, 300.0]),
    st.sampled_from([None, 0.5]),
    st.sampled_from([1e-6, 0.5, 0.95, 0.999, 1.0, 1 - 1e-12]) | st.floats(0.01, 0.99),
    st.sampled_from(["top_p", "typical_p"]),
)
def test_they_are_those_of_a_full_sort(
    n: int, seed: int, size: float, step: float | None, limit: float, by: str
) -> None:
    logits = np.random.default_rng(seed).standard_normal(n) * size
    probabilities = softmax(logits if step is None else np.round(logits / step) * step)
    keys = keys_of(probabilities, by)
    assert fewest(probabilities, keys, limit).tolist() == by_sorting(probabilities, keys, limit)


def test_few_are_sorted_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would be right as well, but slow."""
    probabilities = softmax(np.random.default_rng(0).standard_normal(20 * SORTED))
    monkeypatch.setattr(module, "_by_sorting", None)
    assert 10 * SORTED < fewest(probabilities, -probabilities, 0.95).size < 19 * SORTED
