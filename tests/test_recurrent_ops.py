"""Kernels that carry a state from token to token against their references in float64, and however a batch is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from naive import nmse, run
from numpy.typing import NDArray

from llmlocal.ops.short_conv import gated_conv, gated_conv_reference, silu_conv, silu_conv_reference
from llmlocal.quant.jit import cpu

Array = NDArray[Any]
ISAS = cpu.offered()
BOUND = 1e-12


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def cut(*lengths: Sequence[int]) -> dict[str, Array | float]:
    """Operands of runs, each given as lengths of its segments: run r begins in slot 2 r and ends in slot 2 r + 1."""
    rows, starts, at = [], [0], 0
    for r, some in enumerate(lengths):
        for i, n in enumerate(some):
            rows.append((at, at + n, 2 * r + (i > 0), 2 * r + 1))
            at += n
        starts.append(len(rows))
    return {
        "runs": np.array([len(lengths)]),
        "run_starts": np.array(starts),
        "segments": np.array(rows),
    }


CUTS = [((9,),), ((1,), (1,), (1,)), ((2, 1, 4), (1, 7))]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("gated", "size"), [(False, 4), (True, 3)], ids=["silu", "gated"])
@pytest.mark.parametrize("channels", [5, 32, 300])
@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_short_conv(channels: int, size: int, gated: bool, cuts: Any, isa: str) -> None:
    """Inputs lie in the middle of wider rows; states are left where they were unless a segment writes them."""
    tokens, kernel = sum(map(sum, cuts)), (gated_conv if gated else silu_conv)(size)
    parts, reference = (3, gated_conv_reference) if gated else (1, silu_conv_reference)
    x = normal(tokens, parts * channels + 7)
    states, weight = normal(2 * len(cuts), size - 1, channels, seed=1), normal(channels, size, seed=2)
    bias, out = normal(channels, seed=3), np.full((tokens, channels), np.nan, np.float32)
    before = states.astype(np.float64)
    run(
        kernel,
        isa,
        threads=3,
        **cut(*cuts),
        state=states,
        slot_bytes=4 * (size - 1) * channels,
        x=x,
        row_bytes=4 * x.shape[1],
        column=12,
        weight=np.ascontiguousarray(weight.T),
        bias=bias,
        out=out,
        channels=channels,
    )
    at = 0
    for r, some in enumerate(cuts):
        n = sum(some)
        rows = x[at : at + n, 3 : 3 + parts * channels].astype(np.float64)
        want, state = reference(rows, before[2 * r], weight.astype(np.float64), bias.astype(np.float64))
        assert nmse(out[at : at + n], want) <= BOUND
        assert nmse(states[2 * r + 1], state) <= BOUND and np.array_equal(states[2 * r], before[2 * r])
        at += n
