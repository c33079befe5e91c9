"""Kernels of Gemma 3n against their references: alternating updates, magnitudes, sparse activations, column scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from instruction_sets import ISAS
from naive import nmse, number, run
from numpy.typing import NDArray

from llmlocal.ops.activation_sparsity import gaussian_topk, gaussian_topk_reference
from llmlocal.ops.altup import (
    STREAMS,
    altup_correct,
    altup_correct_reference,
    altup_predict,
    altup_predict_reference,
)
from llmlocal.ops.elementwise import scale_columns
from llmlocal.ops.magnitude import match_magnitude, match_magnitude_reference

BOUND, TOKENS = 1e-12, 9
WIDTHS = pytest.mark.parametrize("width", [1, 7, 64, 100])
ON_ALL = pytest.mark.parametrize("isa", ISAS)


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def exact(x: NDArray[np.float32]) -> NDArray[np.float64]:
    return x.astype(np.float64)


@ON_ALL
@WIDTHS
def test_altup(width: int, isa: str) -> None:
    streams = [normal(TOKENS, width, seed=i) for i in range(STREAMS)]
    mix, shares = normal(TOKENS, STREAMS, STREAMS, seed=9), normal(TOKENS, STREAMS, seed=10)
    activated, shared = normal(TOKENS, width, seed=11), {"tokens": number(TOKENS), "width": width}
    for i in range(STREAMS):
        named: dict[str, Any] = dict(zip("abcd", streams, strict=True))
        out = np.full((TOKENS + 1, width), 9, np.float32)
        run(altup_predict, isa, 2, out=out, coefficients=mix, stream=i, **named, **shared)
        assert nmse(out[:-1], altup_predict_reference([exact(x) for x in streams], exact(mix), i)) <= BOUND
        assert (out[-1] == 9).all()
        what = {"prediction": streams[i], "activated": activated, "active": streams[0], "coefficients": shares}
        run(altup_correct, isa, 2, out=out, stream=i, **what, **shared)
        want = altup_correct_reference(*(exact(x) for x in (streams[i], activated, streams[0], shares[:, i])))
        assert nmse(out[:-1], want) <= BOUND and (out[-1] == 9).all()


@ON_ALL
@WIDTHS
def test_rows_get_the_magnitude_of_others(width: int, isa: str) -> None:
    x, like = normal(TOKENS, width), normal(TOKENS, width, seed=1) * np.float32(30)
    x[3] = 0  # nothing is divided by nothing
    want = match_magnitude_reference(exact(x), exact(like))
    run(match_magnitude, isa, 2, tokens=number(TOKENS), x=x, like=like, width=width)
    assert nmse(x, want) <= BOUND and not x[3].any()


@ON_ALL
@pytest.mark.parametrize("width", [7, 64, 1000])
def test_only_what_is_far_above_the_mean_is_kept(width: int, isa: str) -> None:
    x = normal(TOKENS, width) + np.float32(3)
    want = gaussian_topk_reference(exact(x), 1.645)
    run(gaussian_topk, isa, 2, tokens=number(TOKENS), x=x, width=width, deviations=1.645)
    assert np.abs(x - want).max() <= 1e-5 and (x >= 0).all()
    assert width < 1000 or 0.02 < (x > 0).mean() < 0.08


@WIDTHS
def test_columns_are_scaled(width: int) -> None:
    x, factors, out = normal(TOKENS, width), normal(width, seed=1), np.empty((TOKENS, width), np.float32)
    run(scale_columns, None, 2, tokens=number(TOKENS), x=x, out=out, factors=factors, width=width)
    assert np.array_equal(out, x * factors)
