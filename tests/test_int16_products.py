"""Products of weights and activations of 16 bits, their tiles and records, compared with NumPy."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from instruction_sets import ISAS, REST
from naive import nmse, number, run
from numpy.typing import NDArray
from test_matmul import MOST_TOKENS, product

from llmlocal.quant.format import BY_NAME, Format
from llmlocal.quant.kernels.int16_weights import (
    SPARE_BYTES,
    int16_bytes,
    pack_int16,
    set_for_int16,
)
from llmlocal.quant.kernels.interleave import MOST_LANES
from llmlocal.quant.kernels.matmul import matmul_reference
from llmlocal.quant.kernels.matmul_int16 import X86, matmul_int16, use_int16
from llmlocal.quant.kernels.panels import BAND
from llmlocal.quant.kernels.q16_activations import (
    BLOCK,
    GROUP,
    LENGTH,
    LINE,
    q16_bytes,
    q16_reference,
    q16_scales,
    quantize_q16,
)
from llmlocal.quant.simd.instruction_set import InstructionSet

Array = NDArray[Any]
GUARD = 123456.0
OTHERS = [pytest.param(isa, marks=pytest.mark.slow) for isa in REST]
FORMATS = ["Q8_0", "F16", "BF16", "F32"]


def records(x: Array, isa: str | None = None) -> Array:
    """The Q16 records of rows of activations."""
    out = np.zeros((len(x), q16_bytes(x.shape[1])), np.uint8)
    run(quantize_q16, isa, tokens=number(len(x)), x=x, out=out, k=x.shape[1])
    return out


def packed(fmt: type[Format], data: Array, k: int, isa: str | None = None, threads: int = 1) -> Array:
    """Rows in tiles; what lies behind them and behind the scratch memory must stay as it was."""
    nbytes = int16_bytes(len(data), k)
    out, scratch = np.full(nbytes + 64, 0xFF, np.uint8), np.full(SPARE_BYTES * threads + 64, 0xFF, np.uint8)
    shape = {"rows": len(data), "k": k, "row_bytes": fmt.row_bytes(k)}
    run(pack_int16(fmt), isa, threads, source=data, target=out, scratch=scratch, **shape)
    assert (out[nbytes:] == 0xFF).all() and (scratch[-64:] == 0xFF).all()
    return out


def multiply(
    tiles: Array,
    rows: int,
    acts: Array,
    k: int,
    isa: str | None = None,
    threads: int = 1,
    bias: Array | int = 0,
) -> Array:
    """The kernel's y (tokens, rows); whatever lies beside y must stay as it was."""
    tokens = len(acts)
    y = np.full((tokens + 2, rows + 5), GUARD, np.float32)
    operands = {"weights": tiles, "x": acts, "y": y[1:, 2:], "bias": bias}
    run(matmul_int16, isa, threads, tokens=number(tokens), **operands, rows=rows, k=k, y_stride=rows + 5)
    inside = np.zeros(y.shape, bool)
    inside[1:-1, 2 : rows + 2] = True
    assert (y[~inside] == GUARD).all()
    return y[1:-1, 2 : rows + 2].copy()


def assert_rounded(held: Array, values: Array) -> None:
    """What is held are `values` (rows, k) to half a step, and those of the reference unless between two steps."""
    steps = np.repeat(q16_scales(values), GROUP, 1)[:, : values.shape[1]]
    assert (np.abs(held - values) <= np.maximum(1e-30, 0.501 * steps)).all()
    other = np.abs(held - q16_reference(values)) > np.maximum(1e-30, 0.01 * steps)
    assert (np.abs(np.abs(values - held)[other] / steps[other] - 0.5) < 0.01).all()


def values_of(acts: Array, k: int) -> Array:
    """The activations (tokens, k) float64 that Q16 records hold."""
    groups = []
    for first in range(0, k, GROUP):
        at, end = first // GROUP * LINE, first // GROUP * LINE + 2 * min(GROUP, k - first)
        fours, scales = (
            acts[:, at:end].copy().view(np.int16).reshape(-1, 4),
            acts[:, end : end + 4].copy().view(np.float32),
        )
        integers = fours[:, [2, 0, 3, 1]].reshape(len(acts), -1)
        corrections = acts[:, end + 4 : end + 8].copy().view(np.int32)[:, 0]
        assert np.isnan(scales).any() or np.array_equal(corrections, -neighbours(integers))
        groups.append(integers * scales.astype(np.float64))
    return np.concatenate(groups, 1)


def neighbours(integers: Array) -> Array:
    """The sums of the products of every first and second of integers (..., n)."""
    return (integers[..., ::2].astype(np.int32) * integers[..., 1::2]).sum(-1, dtype=np.int32)


def lanes_of(isa: str | None) -> int:
    """Rows of a tile in an instruction set."""
    return set_for_int16(cast(InstructionSet, import_module(f"llmlocal.quant.isa.{isa or ISAS[0]}"))).LANES


def unpacked(tiles: Array, rows: int, k: int, isa: str | None) -> Array:
    """The weights (rows, k) float64 that tiles hold."""
    lanes, bands = lanes_of(isa), []
    for band in tiles[: int16_bytes(rows, k)].reshape(-1, int16_bytes(BAND, k)):
        at, groups = 0, []
        for first in range(0, k, GROUP):
            n = min(GROUP, k - first)
            group = band[at : at + int16_bytes(BAND, n)].reshape(BAND // lanes, -1)
            fours = group[:, : 2 * n * lanes].copy().view(np.int16).reshape(-1, n // 4, 2, lanes, 2)
            integers = fours.transpose(0, 3, 1, 4, 2).reshape(-1, lanes, n)
            scales, corrections = np.split(group[:, 2 * n * lanes :].copy().view(np.int32), 2, axis=1)
            assert np.array_equal(corrections, -neighbours(integers))
            groups.append((integers * scales.view(np.float32).astype(np.float64)[..., None]).reshape(BAND, n))
            at += int16_bytes(BAND, n)
        bands.append(np.concatenate(groups, 1))
    return np.concatenate(bands)


def assert_products(fmt: type[Format], isa: str | None = None) -> None:
    """Numbers of rows and tokens that take different paths, against float64; a token's sums depend on no other."""
    for k in (32, 2 * GROUP, GROUP + 64):
        p = product(fmt, k)
        acts, weights = records(p.x, isa), fmt.dequantize(p.data).astype(np.float64)
        for rows in (MOST_LANES, 3 * MOST_LANES):
            tiles = packed(fmt, p.data[:rows], k, isa)
            held = unpacked(tiles, rows, k, isa)
            assert_rounded(held, weights[:rows])
            whole = multiply(tiles, rows, acts, k, isa)
            assert nmse(whole, values_of(acts, k) @ held.T) <= 1e-11
            for tokens in (1, 2, 3, 7):
                assert np.array_equal(multiply(tiles, rows, acts[:tokens], k, isa), whole[:tokens])
        common = p.common[: 3 * MOST_LANES]
        assert nmse(whole[:, common], matmul_reference(weights[: 3 * MOST_LANES][common], p.x)) <= 1e-7


@pytest.mark.parametrize("name", FORMATS)
def test_products_equal_numpy(name: str) -> None:
    assert_products(BY_NAME[name])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("isa", OTHERS)
def test_products_in_other_instruction_sets(isa: str, name: str) -> None:
    assert_products(BY_NAME[name], isa)


def of_float32(weights: Array, x: Array) -> Array:
    """Products of float32 weights with x, both turned into integers."""
    k = weights.shape[1]
    return multiply(packed(BY_NAME["F32"], weights, k), len(weights), records(x), k)


@pytest.mark.parametrize("isa", ISAS)
def test_sums_stay_within_32_bits(isa: str) -> None:
    """Weights and activations of the greatest sums: all alike, alternating, or a single one."""
    k = 2 * GROUP
    weights = np.ones((MOST_LANES, k), np.float32)
    weights[1] = np.where(np.arange(k) % 2, -1, 1)
    weights[2], weights[2, 5] = 0, -3
    weights[3, :] = 0
    x = weights[:3] * np.float32(7)
    tiles = packed(BY_NAME["F32"], weights, k, isa)
    assert nmse(multiply(tiles, MOST_LANES, records(x, isa), k, isa), matmul_reference(weights, x)) <= 1e-7
    assert (LENGTH + np.sqrt(GROUP) / 2) ** 2 < 1 << 31


@pytest.mark.parametrize("isa", ISAS)
def test_sums_of_a_weight_and_an_activation_stay_within_16_bits(isa: str) -> None:
    """The greatest integers, each weight beside each activation of four, with equal and with opposite signs."""
    weights, x = np.zeros((MOST_LANES, GROUP), np.float32), np.zeros((8, GROUP), np.float32)
    weights[:4, :4], x[:4, :4], x[4:, :4] = np.eye(4), np.eye(4), -np.eye(4)
    y = multiply(packed(BY_NAME["F32"], weights, GROUP, isa), MOST_LANES, records(x, isa), GROUP, isa)
    np.testing.assert_allclose(y, x @ weights.T, rtol=1e-5)


@pytest.mark.parametrize("size", [1e-36, 1e-25, 1e30])
def test_size_of_weights_does_not_matter(size: float) -> None:
    """Only weights that are nearly nothing are taken for zeros."""
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(MOST_LANES, GROUP)).astype(np.float32)
    x = rng.normal(size=(2, GROUP)).astype(np.float32)
    found, plain = of_float32(weights * np.float32(size), x), matmul_reference(weights, x)
    assert (found == 0).all() if size < 1e-35 else nmse(found / size, plain) <= 1e-7


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_stay_visible(bad: float) -> None:
    weights = np.ones((MOST_LANES, 2 * GROUP), np.float32)
    weights[3, GROUP + 8] = bad
    y = of_float32(weights, np.ones((2, 2 * GROUP), np.float32))
    assert (np.isfinite(y).all(0) == (np.arange(MOST_LANES) != 3)).all()


def test_number_of_threads_changes_no_bit() -> None:
    fmt = BY_NAME["Q8_0"]
    p = product(fmt, 768)
    data, acts = np.concatenate([p.data[:96]] * 2), records(p.x)
    tiles = packed(fmt, data, 768)
    assert np.array_equal(packed(fmt, data, 768, threads=3), tiles)
    assert np.array_equal(multiply(tiles, 192, acts, 768, threads=3), multiply(tiles, 192, acts, 768))


def test_biases_are_added() -> None:
    fmt = BY_NAME["Q8_0"]
    p = product(fmt, 768)
    bias, tiles, acts = np.arange(96, dtype=np.float32), packed(fmt, p.data[:96], 768), records(p.x)
    plain = multiply(tiles, 96, acts, 768)
    assert nmse(multiply(tiles, 96, acts, 768, bias=bias), plain.astype(np.float64) + bias) <= 1e-13


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_visible(bad: float) -> None:
    fmt = BY_NAME["Q8_0"]
    p = product(fmt, 768)
    x = p.x[:6].copy()
    x[2, 760], x[4, 0] = bad, bad
    y = multiply(packed(fmt, p.data[:MOST_LANES], 768), MOST_LANES, records(x), 768)
    for token, row in enumerate(y):
        assert np.isfinite(row).all() if token not in (2, 4) else not np.isfinite(row).any()


groups = st.lists(st.floats(-(2.0**120), 2.0**120, width=32), min_size=BLOCK, max_size=BLOCK)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=100, deadline=None)
@given(values=groups)
@example(values=[0.0] * BLOCK)
@example(values=[1e-40, *[0.0] * (BLOCK - 1)])
def test_records_equal_numpy(isa: str, values: list[float]) -> None:
    """A whole group, and a second one of BLOCK values only."""
    x = np.array([np.tile(values, GROUP // BLOCK) * np.repeat(np.arange(GROUP // BLOCK), BLOCK)], np.float32)
    x = np.append(x, [values], 1).astype(np.float32)
    record = records(x, isa)
    kept = np.append(record[0, 2 * GROUP :][:4], record[0, LINE + 2 * BLOCK :][:4]).view(np.float32)
    assert np.isfinite(kept).all()
    if np.abs(x).max() < 2.0**120:
        assert_rounded(values_of(record, x.shape[1]), x.astype(np.float64))
        np.testing.assert_allclose(kept, q16_scales(x.astype(np.float64))[0], rtol=1e-5, atol=1e-30)


def test_records_of_rows_lie_on_different_cache_sets() -> None:
    assert all(
        q16_bytes(k) // 64 % 2 == 1 and q16_bytes(k) >= 2 * k + -(-k // GROUP) * 8 for k in range(BLOCK, 8192, BLOCK)
    )
    assert MOST_TOKENS > 16  # what is multiplied above has whole panels and every rest


@pytest.mark.parametrize("isa", sorted(X86))
def test_int16_is_for_8_to_16_bits_in_whole_tiles(isa: str) -> None:
    assert use_int16(BY_NAME["Q8_0"], 64, 64, isa) and not use_int16(BY_NAME["Q8_0"], 72, 64, isa)
    assert use_int16(BY_NAME["F16"], 64, 64, isa) and not use_int16(BY_NAME["F16"], 64, 48, isa)
    assert not use_int16(BY_NAME["F32"], 64, 64, isa)
    assert not use_int16(BY_NAME["Q4_K"], 64, 256, isa) and not use_int16(BY_NAME["Q8_0"], 64, 64, "neon")
