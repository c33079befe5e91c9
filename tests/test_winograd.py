"""Winograd's products of signed bytes, their records, and where a batch chooses them, compared with NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from naive import nmse, number, run
from numpy.typing import NDArray
from test_interleave import interleaved
from test_matmul import product, records

from llmlocal.quant.format import BY_NAME
from llmlocal.quant.jit import cpu
from llmlocal.quant.kernels.gemm_winograd import WEIGHT_MOST, weights_reference
from llmlocal.quant.kernels.interleave import MOST_LANES
from llmlocal.quant.kernels.matmul import SCRATCH_BYTES, TILED_TOKENS, matmul, matmul_reference, same_bits, use_winograd
from llmlocal.quant.kernels.panels import PASS_TOKENS
from llmlocal.quant.kernels.q8_activations import q8_bytes
from llmlocal.quant.kernels.quantize_by_tokens import quantize_by_tokens
from llmlocal.quant.kernels.winograd_activations import (
    CORRECTION,
    GROUP,
    LINE,
    MOST,
    SCALE,
    WINOGRAD_TOKENS,
    winograd_bytes,
    winograd_reference,
)

Array = NDArray[Any]
Q8_0, ISA, GUARD = BY_NAME["Q8_0"], "avx2", 123456.0
pytestmark = pytest.mark.skipif(ISA not in cpu.offered(), reason="a CPU without AVX2")
FORMS = [pytest.param(form, id="interleaved" if form else "rows") for form in (False, True)]


def winograd_records(x: Array) -> Array:
    """Records of rows (tokens, k) float32, of which there are enough."""
    tokens, k = x.shape
    out = np.zeros((tokens, winograd_bytes(k)), np.uint8)
    run(quantize_by_tokens, ISA, tokens=number(tokens), x=x, out=out, k=k)
    return out


def multiply(data: Array, acts: Array, k: int, form: bool, threads: int = 1) -> Array:
    """The kernel's y (tokens, rows); whatever lies beside y and beside the scratch memory must stay as it was."""
    tokens, rows = len(acts), len(data)
    weights = interleaved(data, Q8_0, ISA) if form else data
    y = np.full((tokens + 2, rows + 5), GUARD, np.float32)
    scratch = np.full(SCRATCH_BYTES * threads + 64, 0x5A, np.uint8)
    operands = {"weights": weights, "x": acts, "y": y[1:, 2:], "scratch": scratch}
    shape = {"rows": rows, "k": k, "row_bytes": Q8_0.row_bytes(k), "y_stride": rows + 5}
    run(matmul(Q8_0, interleaved=form, winograd=True), ISA, threads, tokens=number(tokens), **operands, **shape)
    inside = np.zeros(y.shape, bool)
    inside[1:-1, 2 : rows + 2] = True
    assert (y[~inside] == GUARD).all() and (scratch[-64:] == 0x5A).all()
    return y[1:-1, 2 : rows + 2].copy()


def exact_activations(x: Array) -> Array:
    q, scale = winograd_reference(x)
    return q * np.repeat(scale.astype(np.float64), GROUP, axis=1)[:, : x.shape[1]]


def exact_weights(data: Array, k: int) -> Array:
    blocks = data.reshape(len(data), -1, Q8_0.nbytes)
    scales = np.ascontiguousarray(blocks[..., :2]).view(np.float16)[..., 0].astype(np.float32)
    q, scale = weights_reference(np.ascontiguousarray(blocks[..., 2:]).view(np.int8).reshape(len(data), k), scales)
    assert np.abs(q).max() <= WEIGHT_MOST
    return q * np.repeat(scale.astype(np.float64), GROUP, axis=1)[:, :k]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("k", [32, GROUP, 576, 3 * GROUP])
def test_products_equal_numpy(k: int, form: bool) -> None:
    """Against the integers of the references, and against float64; a token's sums depend on no other."""
    p = product(Q8_0, k)
    x = np.concatenate([p.x] * 3)[: PASS_TOKENS + 7]
    data, acts = p.data[: 3 * MOST_LANES], winograd_records(x)
    whole = multiply(data, acts, k, form)
    assert nmse(whole, exact_activations(x) @ exact_weights(data, k).T) <= 1e-12
    common = p.common[: len(data)]
    assert nmse(whole[:, common], matmul_reference(Q8_0.dequantize(data[common]), x)) <= 1e-6
    for tokens in (WINOGRAD_TOKENS, WINOGRAD_TOKENS + 3):
        assert np.array_equal(multiply(data[:MOST_LANES], acts[:tokens], k, form), whole[:tokens, :MOST_LANES])


def test_few_tokens_are_multiplied_as_bytes() -> None:
    p = product(Q8_0, 576)
    data, few = p.data[:MOST_LANES], WINOGRAD_TOKENS - 1
    out = np.zeros((few, q8_bytes(p.k)), np.uint8)
    run(quantize_by_tokens, ISA, tokens=number(few), x=p.x[:few], out=out, k=p.k)
    assert np.array_equal(out, records(p.x[:few]))
    got = multiply(data, out, p.k, True)
    assert nmse(got, matmul_reference(Q8_0.dequantize(data), p.x[:few])) <= 6e-5
    assert np.array_equal(multiply(data, out[:1], p.k, True), got[:1])


@pytest.mark.parametrize("form", FORMS)
def test_number_of_threads_changes_no_bit(form: bool) -> None:
    p = product(Q8_0, 576)
    data, acts = np.concatenate([p.data[:128]] * 2), winograd_records(p.x)
    assert np.array_equal(multiply(data, acts, 576, form, threads=3), multiply(data, acts, 576, form))


def test_largest_numbers_fit() -> None:
    """Every weight -128 under one scale, every activation of the greatest magnitude: the sums that are largest."""
    data = np.zeros((MOST_LANES, 8, Q8_0.nbytes), np.uint8)
    data[..., :2], data[..., 2:] = np.frombuffer(np.float16(0.5).tobytes(), np.uint8), 0x80
    for sign in (1, -1):
        x = np.full((WINOGRAD_TOKENS, GROUP), sign * 3.0, np.float32)
        got = multiply(data.reshape(MOST_LANES, -1), winograd_records(x), GROUP, False)
        np.testing.assert_allclose(got, -64.0 * sign * 3 * GROUP, rtol=1e-5)


def test_scales_of_a_group_may_differ() -> None:
    """Zero, of either sign, and a thousand times smaller than the group's greatest."""
    p = product(Q8_0, GROUP)
    data = p.data[: 2 * MOST_LANES].reshape(-1, 8, Q8_0.nbytes).copy()
    d = np.tile(np.array([0.5, -0.5, 0.0, 5e-4, -0.125, 0.25, 0.5, 1e-4], np.float16), (len(data), 1))
    d[1::2] = 0
    data[..., :2] = d.view(np.uint8).reshape(*d.shape, 2)
    data = data.reshape(len(data), -1)
    got = multiply(data, winograd_records(p.x), GROUP, True)
    assert not got[:, 1::2].any()
    assert nmse(got, exact_activations(p.x) @ exact_weights(data, GROUP).T) <= 1e-12
    assert nmse(got, matmul_reference(Q8_0.dequantize(data), p.x)) <= 1e-6


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_visible(bad: float) -> None:
    p = product(Q8_0, 576)
    x, data = p.x.copy(), p.data[:MOST_LANES].copy()
    x[2, 570], x[4, 0] = bad, bad
    data[3, :2] = np.frombuffer(np.float16(bad).tobytes(), np.uint8)
    y = multiply(data, winograd_records(x), 576, False)
    broken = ~np.isfinite(y)
    assert broken[[2, 4]].all() and broken[:, 3].all()
    assert not np.delete(np.delete(broken, [2, 4], 0), 3, 1).any()


groups = st.lists(st.floats(-(2.0**120), 2.0**120, width=32), min_size=32, max_size=32)


@settings(max_examples=50, deadline=None)
@given(values=groups, extra=st.integers(0, 1))
@example(values=[0.0] * 32, extra=0)
@example(values=[1e-40, *[0.0] * 31], extra=1)
def test_records_equal_numpy(values: list[float], extra: int) -> None:
    x = np.array([[*[0.25] * (GROUP * extra), *values]] * WINOGRAD_TOKENS, np.float32)
    record = winograd_records(x)[0, LINE * extra :]
    with np.errstate(all="ignore"):
        q, scale = winograd_reference(x[:1])
    found = record[: 2 * 32].view(np.int16).reshape(-1, 4)[:, [2, 0, 3, 1]].reshape(-1)
    kept, correction = record[SCALE:CORRECTION].view(np.float32)[0], record[CORRECTION:].view(np.int32)[0]
    assert correction == -(found[::2].astype(int) * found[1::2]).sum()
    if not 1e-30 <= np.abs(values).max() <= 1e30:  # beyond, only that products are those of the values, or nearly none
        assert np.isfinite(kept)
        bound = np.maximum(1e-33, np.abs(x[0, GROUP * extra :]).max() / MOST)
        assert (np.abs(found * np.float64(kept) - x[0, GROUP * extra :]) <= bound).all()
        return
    assert np.array_equal(found, q[0, GROUP * extra :]) and kept == scale[0, extra]


def test_records_of_rows_lie_on_different_cache_sets() -> None:
    assert all(winograd_bytes(k) // 64 % 2 == 1 and winograd_bytes(k) >= k / GROUP * LINE for k in range(32, 8192, 32))


def test_winograd_is_for_signed_bytes_on_avx2() -> None:
    assert use_winograd(Q8_0, 64, "avx2") and not use_winograd(Q8_0, 72, "avx2")
    assert not any(use_winograd(BY_NAME[name], 64, "avx2") for name in ("F16", "Q4_0", "Q6_K"))
    assert not any(use_winograd(Q8_0, 64, isa) for isa in ("avx512", "avxvnni", "generic", "neon_i8mm"))
    assert same_bits("avx2", Q8_0, interleaved=True, winograd=True) == WINOGRAD_TOKENS - 1 == TILED_TOKENS - 1
    assert same_bits("avx2", Q8_0, winograd=True) == same_bits("avx2", Q8_0)
