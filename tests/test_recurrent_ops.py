"""Kernels that carry a state from token to token against their references in float64, and however a batch is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from instruction_sets import ISAS
from naive import nmse, number, run
from numpy.typing import NDArray

from llmlocal.ops.gated_delta import (
    channel_decay,
    channel_decay_reference,
    delta_gates,
    delta_gates_reference,
    gated_delta,
    gated_delta_reference,
)
from llmlocal.ops.selective_scan import selective_scan, selective_scan_reference
from llmlocal.ops.short_conv import (
    gated_conv,
    gated_conv_reference,
    plain_conv,
    short_conv_reference,
    silu_conv,
    silu_conv_reference,
)
from llmlocal.ops.sigmoid_router import sigmoid_router, sigmoid_router_reference
from llmlocal.ops.softmax_router import softmax_router, softmax_router_reference
from llmlocal.ops.ssd_scan import SCRATCH_BYTES, scan_gates, scan_gates_reference, ssd_scan, ssd_scan_reference
from llmlocal.ops.state_tile import columns
from llmlocal.ops.take_columns import take_columns
from llmlocal.ops.wkv import (
    key_bonus,
    key_bonus_reference,
    wkv6,
    wkv6_decay,
    wkv6_decay_reference,
    wkv6_reference,
    wkv7,
    wkv7_keys,
    wkv7_keys_reference,
    wkv7_reference,
)
from llmlocal.quant.jit.kernel import Kernel

Array = NDArray[Any]
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
@pytest.mark.parametrize(("kind", "size"), [("silu", 4), ("gated", 3), ("plain", 2)])
@pytest.mark.parametrize("channels", [5, 32, 300])
@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_short_conv(channels: int, size: int, kind: str, cuts: Any, isa: str) -> None:
    """Inputs lie in the middle of wider rows; states are left where they were unless a segment writes them."""
    tokens, parts = sum(map(sum, cuts)), 3 if kind == "gated" else 1
    build, reference = {
        "silu": (silu_conv, silu_conv_reference),
        "gated": (gated_conv, gated_conv_reference),
        "plain": (plain_conv, short_conv_reference),
    }[kind]
    x = normal(tokens, parts * channels + 7)
    states, weight = normal(2 * len(cuts), size - 1, channels, seed=1), normal(channels, size, seed=2)
    bias, out = normal(channels, seed=3), np.full((tokens, channels), np.nan, np.float32)
    before = states.astype(np.float64)
    run(
        build(size),
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


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("dim", "heads", "key_heads", "group"), [(32, 4, 2, 1), (128, 2, 2, 1), (16, 6, 2, 3)])
@pytest.mark.parametrize("by_channel", [False, True], ids=["", "by-channel"])
@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_gated_delta(dim: int, heads: int, key_heads: int, group: int, by_channel: bool, cuts: Any, isa: str) -> None:
    tokens, width = sum(map(sum, cuts)), columns(dim)
    x, shapes = normal(tokens, 2 * key_heads + heads, dim), ((tokens, heads, dim)[: 2 + by_channel], (tokens, heads))
    decay, beta = (np.random.default_rng(i).uniform(0, 1, s).astype(np.float32) for i, s in enumerate(shapes, 1))
    states, out = normal(2 * len(cuts), heads, dim, dim, seed=3), np.full((tokens, heads, dim), np.nan, np.float32)
    tiles = states.reshape(-1, heads, dim, dim // width, width).swapaxes(2, 3).copy()
    run(
        gated_delta(dim, by_channel=by_channel),
        isa,
        threads=3,
        **cut(*cuts),
        state=tiles,
        slot_bytes=4 * heads * dim * dim,
        x=x,
        decay=decay,
        beta=beta,
        out=out,
        heads=heads,
        key_heads=key_heads,
        group=group,
        dim=dim,
    )
    got, at = tiles.swapaxes(2, 3).reshape(states.shape), 0
    key_of = np.arange(heads) // group % key_heads
    for r, some in enumerate(cuts):
        rows = slice(at, at + sum(some))
        q, k, v = x[rows, key_of], x[rows, key_heads + key_of], x[rows, 2 * key_heads :]
        args = (a.astype(np.float64) for a in (q, k, v, decay[rows], beta[rows], states[2 * r]))
        want, state = gated_delta_reference(*args)
        assert nmse(out[rows], want) <= BOUND
        assert nmse(got[2 * r + 1], state) <= BOUND and np.array_equal(got[2 * r], states[2 * r])
        at += sum(some)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("heads", [8, 11])
def test_delta_gates(heads: int, isa: str) -> None:
    alpha, beta = 8 * normal(20, heads), normal(20, heads, seed=1)
    alpha[0, :5] = 200, -200, 0, 60, -60
    rate, bias = -np.exp(normal(heads, seed=2)), normal(heads, seed=3)
    want = delta_gates_reference(*(a.astype(np.float64) for a in (alpha, beta, rate, bias)))
    run(delta_gates, isa, threads=2, tokens=number(20), alpha=alpha, beta=beta, rate=rate, bias=bias, heads=heads)
    np.testing.assert_allclose(alpha, want[0], rtol=2e-5, atol=1e-30)
    np.testing.assert_allclose(beta, want[1], rtol=2e-6)


@pytest.mark.parametrize("isa", ISAS)
def test_channel_decay(isa: str) -> None:
    x, rate, bias = 8 * normal(20, 24), -np.exp(normal(24, seed=2)), normal(24, seed=3)
    x[0, :4] = 200, -200, 60, -60
    want = channel_decay_reference(*(a.astype(np.float64) for a in (x, rate, bias)))
    run(channel_decay, isa, threads=2, tokens=number(20), x=x, rate=rate, bias=bias, width=24)
    np.testing.assert_allclose(x, want, rtol=2e-5, atol=1e-30)


def test_take_columns() -> None:
    x, out = normal(3, 50), np.zeros((3, 34), np.float32)
    places = {"x_group": 11, "x_column": 4, "x_row": 50, "out_group": 10, "out_column": 2, "out_row": 34}
    run(take_columns, tokens=number(3), x=x, out=out, groups=3, width=9, **places)
    want = np.zeros_like(out)
    for g in range(3):
        want[:, 2 + 10 * g : 11 + 10 * g] = x[:, 4 + 11 * g : 13 + 11 * g]
    assert np.array_equal(out, want)


@pytest.mark.parametrize("normalize_weights", [False, True])
@pytest.mark.parametrize(
    ("router", "reference"), [(sigmoid_router, sigmoid_router_reference), (softmax_router, softmax_router_reference)]
)
def test_routers_with_a_bias(router: Kernel, reference: Any, normalize_weights: bool) -> None:
    """The bias changes the choice and no weight; a NaN makes all weights of its token NaN."""
    scores, bias = 3 * normal(9, 13), normal(13, seed=1)
    chosen, weights = np.zeros((9, 4), np.int64), np.zeros((9, 4), np.float32)
    rule = {"normalize_weights": int(normalize_weights), "factor": 1.5, "groups": 1, "groups_used": 1, "group_best": 2}
    want = reference(scores.astype(np.float64), bias.astype(np.float64), 4, normalize_weights, 1.5)
    assert (want[0] != np.argsort(-scores, axis=1)[:, :4]).any()
    shared = {"tokens": number(9), "bias": bias, "chosen": chosen, "weights": weights, "experts": 13, "used": 4}
    run(router, threads=2, scores=scores.copy(), **shared, **rule)
    assert np.array_equal(chosen, want[0])
    np.testing.assert_allclose(weights, want[1], rtol=2e-6)
    scores[2, 5] = np.nan
    run(router, scores=scores, **shared, **rule)
    assert np.isnan(weights[2]).all() and np.isfinite(np.delete(weights, 2, 0)).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("dim", "size", "heads", "groups"), [(64, 128, 2, 1), (16, 24, 6, 3)])
@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_ssd_scan(dim: int, size: int, heads: int, groups: int, cuts: Any, isa: str) -> None:
    tokens, width = sum(map(sum, cuts)), columns(dim)
    x = normal(tokens, heads * dim + 2 * groups * size)
    decay, step = (np.random.default_rng(i).uniform(0, 1, (tokens, heads)).astype(np.float32) for i in (1, 2))
    states, out = normal(2 * len(cuts), heads, size, dim, seed=3), np.full((tokens, heads, dim), np.nan, np.float32)
    tiles, skip = states.reshape(-1, heads, size, dim // width, width).swapaxes(2, 3).copy(), normal(heads, seed=4)
    run(
        ssd_scan(dim),
        isa,
        threads=3,
        **cut(*cuts),
        state=tiles,
        slot_bytes=4 * heads * size * dim,
        x=x,
        decay=decay,
        step=step,
        skip=skip,
        out=out,
        heads=heads,
        groups=groups,
        dim=dim,
        size=size,
        scratch=np.full(3 * SCRATCH_BYTES, 0xFF, np.uint8),
    )
    got, at, group_of = tiles.swapaxes(2, 3).reshape(states.shape), 0, np.arange(heads) * groups // heads
    for r, some in enumerate(cuts):
        rows = slice(at, at + sum(some))
        inputs, b, c = np.split(x[rows].astype(np.float64), [heads * dim, heads * dim + groups * size], axis=1)
        b, c = (y.reshape(-1, groups, size)[:, group_of] for y in (b, c))
        gates = (y.astype(np.float64) for y in (decay[rows], step[rows], skip, states[2 * r]))
        want, state = ssd_scan_reference(inputs.reshape(-1, heads, dim), b, c, *gates)
        assert nmse(out[rows], want) <= BOUND
        assert nmse(got[2 * r + 1], state) <= BOUND and np.array_equal(got[2 * r], states[2 * r])
        at += sum(some)


@pytest.mark.parametrize("isa", ISAS)
def test_scan_gates(isa: str) -> None:
    step, rate, bias = 8 * normal(20, 11), -np.exp(normal(11, seed=2)), normal(11, seed=3)
    decay, want = np.empty_like(step), scan_gates_reference(*(a.astype(np.float64) for a in (step, rate, bias)))
    run(scan_gates, isa, threads=2, tokens=number(20), step=step, decay=decay, rate=rate, bias=bias, heads=11)
    np.testing.assert_allclose(step, want[0], rtol=2e-6)
    np.testing.assert_allclose(decay, want[1], rtol=2e-5, atol=1e-30)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("channels", "size"), [(40, 16), (8, 3)])
@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_selective_scan(channels: int, size: int, cuts: Any, isa: str) -> None:
    tokens = sum(map(sum, cuts))
    x, step = normal(tokens, channels), 3 * normal(tokens, channels, seed=1)
    b, c, skip = normal(tokens, size, seed=2), normal(tokens, size, seed=3), normal(channels, seed=4)
    rate, states = -np.exp(normal(size, channels, seed=5)), normal(2 * len(cuts), size, channels, seed=6)
    before, out = states.astype(np.float64), np.full_like(x, np.nan)
    run(
        selective_scan,
        isa,
        threads=3,
        **cut(*cuts),
        state=states,
        slot_bytes=4 * size * channels,
        x=x,
        step=step,
        b=b,
        c=c,
        rate=rate,
        skip=skip,
        out=out,
        channels=channels,
        size=size,
    )
    at = 0
    for r, some in enumerate(cuts):
        rows = slice(at, at + sum(some))
        args = (a.astype(np.float64) for a in (x[rows], step[rows], b[rows], c[rows], rate, skip, before[2 * r]))
        want, state = selective_scan_reference(*args)
        assert nmse(out[rows], want) <= BOUND
        assert nmse(states[2 * r + 1], state) <= BOUND and np.array_equal(states[2 * r], before[2 * r])
        at += sum(some)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("version", [6, 7])
@pytest.mark.parametrize(("dim", "heads"), [(64, 2), (24, 3)])
@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_wkv(dim: int, heads: int, version: int, cuts: Any, isa: str) -> None:
    tokens, width = sum(map(sum, cuts)), columns(dim)
    r, k, v, removal = (normal(tokens, heads, dim, seed=i) for i in range(4))
    decay, rate = (np.random.default_rng(i).uniform(0, 1, r.shape).astype(np.float32) for i in (4, 5))
    removal /= np.linalg.norm(removal, axis=-1, keepdims=True)
    bonus, states = normal(heads, dim, seed=6), normal(2 * len(cuts), heads, dim, dim, seed=7)
    tiles, out = states.reshape(-1, heads, dim, dim // width, width).swapaxes(2, 3).copy(), np.full_like(v, np.nan)
    run(
        (wkv6 if version == 6 else wkv7)(dim),
        isa,
        threads=3,
        **cut(*cuts),
        state=tiles,
        slot_bytes=4 * heads * dim * dim,
        r=r,
        decay=decay,
        k=k,
        v=v,
        removal=bonus if version == 6 else removal,
        rate=0 if version == 6 else rate,
        out=out,
        heads=heads,
        dim=dim,
    )
    got, at = tiles.swapaxes(2, 3).reshape(states.shape), 0
    for n, some in enumerate(cuts):
        rows = slice(at, at + sum(some))
        args = [x[rows].astype(np.float64) for x in (r, decay, k, v, removal, rate)]
        before = states[2 * n].astype(np.float64)
        want, state = wkv7_reference(*args, before) if version == 7 else wkv6_reference(*args[:4], bonus, before)
        assert nmse(out[rows], want) <= BOUND
        assert nmse(got[2 * n + 1], state) <= BOUND and np.array_equal(got[2 * n], states[2 * n])
        at += sum(some)


@pytest.mark.parametrize("isa", ISAS)
def test_gates_of_rwkv(isa: str) -> None:
    w, k, v, r = (4 * normal(9, 3, 24, seed=i) for i in range(4))
    rate, scale, bonus = np.abs(normal(9, 3, 24, seed=4)), normal(3, 24, seed=5), normal(3, 24, seed=6)
    w[0, 0, :4] = 100, -100, 0, 5
    w64, k64, v64, r64 = (x.astype(np.float64) for x in (w, k, v, r))
    want = wkv7_keys_reference(w64, k64, rate.astype(np.float64), scale.astype(np.float64), bonus.astype(np.float64))
    shared = {"tokens": number(9), "heads": 3, "dim": 24}
    out, removal = normal(9, 3, 24, seed=7), np.full_like(k, np.nan)
    added = key_bonus_reference(out.astype(np.float64), r64, k64, v64, bonus.astype(np.float64))
    run(key_bonus, isa, threads=2, out=out, r=r, k=k, v=v, bonus=bonus, **shared)
    assert nmse(out, added) <= BOUND
    alone = w.copy()
    run(wkv7_keys, isa, threads=2, w=w, k=k, rate=rate, removal=removal, scale=scale, share=bonus, **shared)
    for got, expected in zip((w, k, removal), want, strict=True):
        assert nmse(got, expected) <= BOUND
    run(wkv6_decay, isa, threads=2, tokens=number(9), w=alone, width=72)
    np.testing.assert_allclose(alone, wkv6_decay_reference(w64), rtol=2e-5, atol=1e-7)
