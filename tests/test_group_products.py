"""Products with one scale for 256 columns, their records, and where a batch chooses them, compared with NumPy."""

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

from llmlocal.quant.format import BY_NAME, Format
from llmlocal.quant.jit import cpu
from llmlocal.quant.kernels.groups.group_records import GROUP_TOKENS, Q8K, WINOGRAD, group_records, quantize_by_tokens
from llmlocal.quant.kernels.groups.group_winograd import WEIGHT_MOST, weights_reference
from llmlocal.quant.kernels.groups.q8k_activations import PAIRS, q8k_reference
from llmlocal.quant.kernels.groups.q8k_activations import SCALE as Q8K_SCALE
from llmlocal.quant.kernels.groups.winograd_activations import CORRECTION, LINE, MOST, SCALE, winograd_reference
from llmlocal.quant.kernels.interleave import MOST_LANES
from llmlocal.quant.kernels.matmul import SCRATCH_BYTES, TILED_TOKENS, matmul, matmul_reference, same_bits
from llmlocal.quant.kernels.panels import GROUP, PASS_TOKENS, SUM_BYTES
from llmlocal.quant.kernels.q8_activations import q8_bytes

Array = NDArray[Any]
Q8_0, Q6_K, ISA, GUARD = BY_NAME["Q8_0"], BY_NAME["Q6_K"], "avx2", 123456.0
RECORDS = {Q8_0: WINOGRAD, Q6_K: Q8K}
pytestmark = pytest.mark.skipif(ISA not in cpu.offered(), reason="a CPU without AVX2")
FORMS = [
    pytest.param(fmt, form, id=f"{fmt.name}-{'interleaved' if form else 'rows'}")
    for fmt in RECORDS
    for form in (False, True)
]


def records_of(fmt: type[Format], x: Array) -> Array:
    """What products of many tokens x (tokens, k) float32 read."""
    tokens, k = x.shape
    assert tokens >= GROUP_TOKENS
    out = np.zeros((tokens, RECORDS[fmt].nbytes(k)), np.uint8)
    run(quantize_by_tokens(RECORDS[fmt]), ISA, tokens=number(tokens), x=x, out=out, k=k)
    return out


def multiply(fmt: type[Format], data: Array, acts: Array, k: int, form: bool, threads: int = 1) -> Array:
    """The kernel's y (tokens, rows); whatever lies beside y and beside the scratch memory must stay as it was."""
    tokens, rows = len(acts), len(data)
    weights = interleaved(data, fmt, ISA) if form else data
    y = np.full((tokens + 2, rows + 5), GUARD, np.float32)
    scratch = np.full(SCRATCH_BYTES * threads + 64, 0xFF, np.uint8)
    operands = {"weights": weights, "x": acts, "y": y[1:, 2:], "scratch": scratch}
    shape = {"rows": rows, "k": k, "row_bytes": fmt.row_bytes(k), "y_stride": rows + 5}
    run(matmul(fmt, interleaved=form, groups=RECORDS[fmt]), ISA, threads, tokens=number(tokens), **operands, **shape)
    inside = np.zeros(y.shape, bool)
    inside[1:-1, 2 : rows + 2] = True
    assert (y[~inside] == GUARD).all() and (scratch[-64:] == 0xFF).all()
    return y[1:-1, 2 : rows + 2].copy()


def exact(fmt: type[Format], x: Array) -> Array:
    """What records of x hold, as float64."""
    q, scale = (winograd_reference if fmt is Q8_0 else q8k_reference)(x)
    return q * np.repeat(scale.astype(np.float64), GROUP, axis=1)[:, : x.shape[1]]


def exact_weights(fmt: type[Format], data: Array, k: int) -> Array:
    """What is multiplied of weights: signed bytes are rounded once more."""
    if fmt is Q6_K:
        return Q6_K.dequantize(data).astype(np.float64)
    blocks = data.reshape(len(data), -1, Q8_0.nbytes)
    scales = np.ascontiguousarray(blocks[..., :2]).view(np.float16)[..., 0].astype(np.float32)
    q, scale = weights_reference(np.ascontiguousarray(blocks[..., 2:]).view(np.int8).reshape(len(data), k), scales)
    assert np.abs(q).max() <= WEIGHT_MOST
    return q * np.repeat(scale.astype(np.float64), GROUP, axis=1)[:, :k]


@pytest.mark.parametrize(("fmt", "form"), FORMS)
def test_products_equal_numpy(fmt: type[Format], form: bool) -> None:
    """Against the integers of the references, and against float64; a token's sums depend on no other."""
    for k in (32, GROUP, 576, 3 * GROUP):
        if k % fmt.block:
            continue
        p = product(fmt, k)
        x = np.concatenate([p.x] * 3)[: PASS_TOKENS + 7]
        data, acts = p.data[: 3 * MOST_LANES], records_of(fmt, x)
        whole = multiply(fmt, data, acts, k, form)
        assert nmse(whole, exact(fmt, x) @ exact_weights(fmt, data, k).T) <= (1e-12 if fmt is Q8_0 else 1e-7)
        common = p.common[: len(data)]
        bound = 1e-6 if fmt is Q8_0 else 6e-5
        assert nmse(whole[:, common], matmul_reference(fmt.dequantize(data[common]), x)) <= bound
        for tokens in (GROUP_TOKENS, GROUP_TOKENS + 3):
            some = multiply(fmt, data[:MOST_LANES], acts[:tokens], k, form)
            assert np.array_equal(some, whole[:tokens, :MOST_LANES])


@pytest.mark.parametrize("fmt", RECORDS)
def test_more_tokens_than_sums_have_room_for(fmt: type[Format]) -> None:
    """Their sums lie in y; they are those of fewer tokens, bit by bit."""
    p, rows = product(fmt, 3 * GROUP), 64
    acts = records_of(fmt, p.x[:GROUP_TOKENS])
    room = SUM_BYTES // (4 * rows)
    few, last = multiply(fmt, p.data[:rows], acts, p.k, True), room % GROUP_TOKENS + 1
    many = multiply(fmt, p.data[:rows], np.resize(acts, (room + last, acts.shape[1])), p.k, True)
    assert np.array_equal(many, np.resize(few, many.shape))


@pytest.mark.parametrize("fmt", RECORDS)
def test_few_tokens_are_multiplied_as_bytes(fmt: type[Format]) -> None:
    p, few = product(fmt, 3 * GROUP), GROUP_TOKENS - 1
    data, out = p.data[:MOST_LANES], np.zeros((few, q8_bytes(3 * GROUP)), np.uint8)
    run(quantize_by_tokens(RECORDS[fmt]), ISA, tokens=number(few), x=p.x[:few], out=out, k=p.k)
    assert np.array_equal(out, records(p.x[:few]))
    got = multiply(fmt, data, out, p.k, True)
    assert nmse(got, p.exact[:few] @ fmt.dequantize(data).T.astype(np.float64)) <= 1e-11
    assert np.array_equal(multiply(fmt, data, out[:1], p.k, True), got[:1])


@pytest.mark.parametrize(("fmt", "form"), FORMS)
def test_number_of_threads_changes_no_bit(fmt: type[Format], form: bool) -> None:
    p = product(fmt, 3 * GROUP)
    data, acts = np.concatenate([p.data[:128]] * 2), records_of(fmt, p.x)
    assert np.array_equal(multiply(fmt, data, acts, p.k, form, threads=3), multiply(fmt, data, acts, p.k, form))


def test_largest_numbers_of_signed_bytes_fit() -> None:
    """Every weight -128 under one scale, every activation of the greatest magnitude: the sums that are largest."""
    data = np.zeros((MOST_LANES, 8, Q8_0.nbytes), np.uint8)
    data[..., :2], data[..., 2:] = np.frombuffer(np.float16(0.5).tobytes(), np.uint8), 0x80
    for sign in (1, -1):
        x = np.full((GROUP_TOKENS, GROUP), sign * 3.0, np.float32)
        got = multiply(Q8_0, data.reshape(MOST_LANES, -1), records_of(Q8_0, x), GROUP, False)
        np.testing.assert_allclose(got, -64.0 * sign * 3 * GROUP, rtol=1e-5)


@pytest.mark.parametrize("q", [0, 63])
def test_largest_numbers_of_six_bits_fit(q: int) -> None:
    """Every weight -32 or 31, every scale -128 or 127."""
    data = np.zeros((MOST_LANES, Q6_K.nbytes), np.uint8)
    data[:, :192], data[:, 208:] = 255 if q else 0, np.frombuffer(np.float16(0.5).tobytes(), np.uint8)
    for scale in (-128, 127):
        data[:, 192:208] = np.uint8(scale & 255)
        x = np.full((GROUP_TOKENS, GROUP), 3.0, np.float32)
        got = multiply(Q6_K, data, records_of(Q6_K, x), GROUP, False)
        np.testing.assert_allclose(got, 0.5 * scale * (q - 32) * 3 * GROUP, rtol=1e-5)


def test_scales_of_a_group_may_differ() -> None:
    """Zero, of either sign, and a thousand times smaller than the group's greatest."""
    p = product(Q8_0, GROUP)
    data = p.data[: 2 * MOST_LANES].reshape(-1, 8, Q8_0.nbytes).copy()
    d = np.tile(np.array([0.5, -0.5, 0.0, 5e-4, -0.125, 0.25, 0.5, 1e-4], np.float16), (len(data), 1))
    d[1::2] = 0
    data[..., :2] = d.view(np.uint8).reshape(*d.shape, 2)
    data = data.reshape(len(data), -1)
    got = multiply(Q8_0, data, records_of(Q8_0, p.x), GROUP, True)
    assert not got[:, 1::2].any()
    assert nmse(got, exact(Q8_0, p.x) @ exact_weights(Q8_0, data, GROUP).T) <= 1e-12
    assert nmse(got, matmul_reference(Q8_0.dequantize(data), p.x)) <= 1e-6


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("fmt", RECORDS)
def test_what_is_not_finite_stays_visible(fmt: type[Format], bad: float) -> None:
    p, at = product(fmt, 3 * GROUP), 0 if fmt is Q8_0 else 208
    x, data = p.x.copy(), p.data[:MOST_LANES].copy()
    x[2, 570], x[4, 0] = bad, bad
    data[3, at : at + 2] = np.frombuffer(np.float16(bad).tobytes(), np.uint8)
    y = multiply(fmt, data, records_of(fmt, x), p.k, False)
    broken = ~np.isfinite(y)
    assert broken[[2, 4]].all() and broken[:, 3].all()
    assert not np.delete(np.delete(broken, [2, 4], 0), 3, 1).any()


groups = st.lists(st.floats(-(2.0**120), 2.0**120, width=32), min_size=32, max_size=32)


@settings(max_examples=50, deadline=None)
@given(values=groups, extra=st.integers(0, 1))
@example(values=[0.0] * 32, extra=0)
@example(values=[1e-40, *[0.0] * 31], extra=1)
def test_winograd_records_equal_numpy(values: list[float], extra: int) -> None:
    x = np.array([[*[0.25] * (GROUP * extra), *values]] * GROUP_TOKENS, np.float32)
    record = records_of(Q8_0, x)[0, LINE * extra :]
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


@settings(max_examples=50, deadline=None)
@given(values=groups)
@example(values=[0.0] * 32)
def test_q8k_records_equal_numpy(values: list[float]) -> None:
    x = np.array([[0.25] * (GROUP - 32) + values] * GROUP_TOKENS, np.float32)
    record = records_of(Q6_K, x)[0]
    with np.errstate(all="ignore"):
        q, scale = q8k_reference(x[:1])
    fours = record[:PAIRS].view(np.int8).astype(int).reshape(16, 4, 2, 2).sum(axis=(1, 3))
    assert np.array_equal(record[PAIRS:Q8K_SCALE].view(np.int16).reshape(16, 2), -32 * fours)
    if np.abs(values).max() <= 1e30:
        assert np.array_equal(record[:PAIRS].view(np.int8), q[0])
        assert record[Q8K_SCALE:].view(np.float32)[0] == scale[0, 0]


@pytest.mark.parametrize("records", RECORDS.values(), ids=lambda records: records.name)
def test_records_of_rows_lie_on_different_cache_sets(records: Any) -> None:
    assert all(records.nbytes(k) // 64 % 2 == 1 and records.nbytes(k) > k for k in range(GROUP, 8192, GROUP))


def test_groups_are_for_two_formats_on_avx2() -> None:
    assert group_records(Q8_0, 64, "avx2") is WINOGRAD and group_records(Q8_0, 72, "avx2") is None
    assert group_records(Q6_K, 64, "avx2") is Q8K
    assert all(group_records(BY_NAME[name], 64, "avx2") is None for name in ("F16", "Q4_0", "Q4_K"))
    assert all(group_records(Q8_0, 64, isa) is None for isa in ("avx512", "avxvnni", "generic", "neon_i8mm"))
    assert same_bits("avx2", Q8_0, interleaved=True, groups=True) == GROUP_TOKENS - 1 == TILED_TOKENS - 1
    assert same_bits("avx2", Q8_0, groups=True) == same_bits("avx2", Q8_0)
