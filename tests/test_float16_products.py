"""Batches of weights of 16-bit floats by 16-bit integers, and their records, compared with NumPy."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from instruction_sets import BEST, ISAS, REST
from naive import nmse, number, run
from numpy.typing import NDArray

from llmlocal.quant.format import BY_NAME, Format
from llmlocal.quant.formats import load_all
from llmlocal.quant.jit.kernel import Kernel
from llmlocal.quant.kernels.float16.float16_tiles import integers_reference
from llmlocal.quant.kernels.float16.matmul_float16 import has_float16_batches, matmul_float16
from llmlocal.quant.kernels.float16.n16_activations import (
    BLOCK,
    LINE,
    SCALE,
    n16_bytes,
    n16_reference,
    quantize_n16,
)
from llmlocal.quant.kernels.interleave import MOST_LANES
from llmlocal.quant.kernels.matmul import SCRATCH_BYTES, TILED_TOKENS, few_tokens, matmul, matmul_reference
from llmlocal.quant.kernels.matmul_int16 import X86
from llmlocal.quant.kernels.panels import PASS_TOKENS
from llmlocal.quant.simd.few_tokens import FEW_TOKENS

Array = NDArray[Any]
GUARD = 123456.0
load_all()
F16, BF16 = BY_NAME["F16"], BY_NAME["BF16"]
FORMATS = [F16, pytest.param(BF16, marks=pytest.mark.slow)]
OTHERS = [pytest.param(isa, marks=pytest.mark.slow) for isa in REST]


def records(x: Array, isa: str | None = None, least: int = 0) -> Array:
    """The N16 records of rows of activations."""
    out = np.zeros((len(x), n16_bytes(x.shape[1])), np.uint8)
    run(quantize_n16, isa, tokens=number(len(x)), x=x, out=out, k=x.shape[1], least=least)
    return out


def multiply(
    kernel: Kernel, fmt: type[Format], data: Array, x: Array, isa: str | None, threads: int, **more: Array
) -> Array:
    """The kernel's y (tokens, rows); whatever lies beside y and beside the scratch memory must stay as it was."""
    (tokens, k), rows = x.shape, len(data)
    y = np.full((tokens + 2, rows + 5), GUARD, np.float32)
    scratch = np.full(SCRATCH_BYTES * threads + 64, 0xFF, np.uint8)
    operands = {"weights": data, "x": x, "y": y[1:, 2:], "scratch": scratch} | more
    shape = {"rows": rows, "k": k, "row_bytes": fmt.row_bytes(k), "y_stride": rows + 5}
    run(kernel, isa, threads, tokens=number(tokens), **operands, **shape)
    inside = np.zeros(y.shape, bool)
    inside[1:-1, 2 : rows + 2] = True
    assert (y[~inside] == GUARD).all() and (scratch[-64:] == 0xFF).all()
    return y[1:-1, 2 : rows + 2].copy()


def product(fmt: type[Format], data: Array, x: Array, isa: str | None = None, threads: int = 1) -> Array:
    return multiply(matmul_float16(fmt), fmt, data, x, isa, threads, records=records(x, isa))


def numbers(integers: Array, scales: Array) -> Array:
    """What records and tiles stand for, in float64."""
    return integers.astype(np.float64) * np.repeat(scales.astype(np.float64), BLOCK, axis=-1)


@cache
def operands(rows: int, tokens: int, k: int) -> tuple[Array, Array]:
    """Weights and activations, a few channels of which are a hundred times as large, as they are in models."""
    rng = np.random.default_rng(k)
    weights = rng.normal(0, 0.02, (rows, k)).astype(np.float32)
    x = rng.normal(0, 1, (tokens, k)).astype(np.float32)
    x[:, rng.choice(k, max(1, k // 256), replace=False)] *= 100
    return weights, x


def assert_products(fmt: type[Format], isa: str | None = None) -> None:
    """Rows, tokens and sizes that take different paths, against float64 on the same integers."""
    few = few_tokens(FEW_TOKENS[isa or BEST], fmt)
    for rows, k in ((MOST_LANES, BLOCK), (5 * MOST_LANES, 9 * BLOCK)):
        weights, x = operands(rows, PASS_TOKENS + 9, k)
        data = fmt.quantize(weights)
        whole = product(fmt, data, x, isa)
        want = numbers(*n16_reference(x)) @ numbers(*integers_reference(fmt.dequantize(data))).T
        assert nmse(whole, want) <= 1e-11
        for tokens in range(few + 1, TILED_TOKENS + 8):
            assert np.array_equal(product(fmt, data, x[:tokens], isa), whole[:tokens])
        for tokens in (1, few):
            alone = multiply(matmul(fmt), fmt, data, x[:tokens], isa, 1)
            assert np.array_equal(product(fmt, data, x[:tokens], isa), alone)


@pytest.mark.parametrize("fmt", FORMATS)
def test_products_equal_numpy(fmt: type[Format]) -> None:
    assert_products(fmt)


@pytest.mark.parametrize("isa", OTHERS)
def test_products_in_other_instruction_sets(isa: str) -> None:
    assert_products(F16, isa)


@pytest.mark.parametrize("fmt", FORMATS)
def test_less_is_lost_than_by_rounding_activations_to_float16(fmt: type[Format]) -> None:
    """As llama.cpp does for these weights."""
    weights, x = operands(128, 64, 2048)
    data = fmt.quantize(weights)
    exact = fmt.dequantize(data)
    want = matmul_reference(exact, x)
    theirs = nmse(matmul_reference(exact, x.astype(np.float16).astype(np.float32)), want)
    assert nmse(product(fmt, data, x), want) <= theirs / 2


def test_number_of_threads_changes_no_bit() -> None:
    weights, x = operands(7 * MOST_LANES, 33, 9 * BLOCK)
    data = F16.quantize(weights)
    alone = product(F16, data, x)
    for threads in (2, 3):
        assert np.array_equal(product(F16, data, x, threads=threads), alone)


@pytest.mark.parametrize("size", [1e-6, 1.0, 6e4])
def test_activations_that_point_where_weights_do(size: float) -> None:
    """Then a sum of products is as large as the norms allow, and is still no more than int32 holds."""
    rng = np.random.default_rng(1)
    one = np.zeros(BLOCK, np.float32)
    one[5] = 1
    shapes = np.stack([np.ones(BLOCK), rng.normal(0, 1, BLOCK), one]).astype(np.float16).astype(np.float32)
    weights = np.resize(np.concatenate([shapes, -shapes]), (MOST_LANES, BLOCK))
    weights *= np.float32(size) / np.abs(weights).max()
    data = F16.quantize(weights)
    want = matmul_reference(F16.dequantize(data), weights)
    assert nmse(product(F16, data, weights), want) <= 1e-7


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_visible(bad: float) -> None:
    weights, x = operands(MOST_LANES, 12, 2 * BLOCK)
    data, x = F16.quantize(weights), x.copy()
    data[3].view(np.float16)[100] = bad
    x[2, 0], x[9, 127] = bad, bad
    finite = np.isfinite(product(F16, data, x))
    assert not finite[:, 3].any() and not finite[[2, 9]].any()
    assert np.delete(np.delete(finite, [2, 9], axis=0), 3, axis=1).all()


def test_nothing_is_as_it_is() -> None:
    """Blocks of zeros, and numbers whose squares are none."""
    weights, x = (a.copy() for a in operands(MOST_LANES, 12, 2 * BLOCK))
    weights[:, :BLOCK], x[:3], x[4, BLOCK:] = 0, 0, 1e-30
    y = product(F16, F16.quantize(weights), x)
    assert not y[:3].any() and (np.abs(y[4]) < 1e-28).all() and y[5:].all()


blocks = st.lists(st.floats(-(2.0**120), 2.0**120, width=32), min_size=BLOCK, max_size=BLOCK)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=100, deadline=None)
@given(values=blocks)
@example(values=[0.0] * BLOCK)
@example(values=[1.0] * BLOCK)
@example(values=[1e-40, *[0.0] * (BLOCK - 1)])
def test_records_equal_numpy(isa: str, values: list[float]) -> None:
    x = np.array([values], np.float32)
    record = records(x, isa)[0]
    with np.errstate(all="ignore"):
        q, scale = n16_reference(x)
    got, kept = record[: 2 * BLOCK].view(np.int16), record[SCALE:LINE].view(np.float32)[0]
    if not 1e-30 <= np.abs(x).max() <= 1e30:  # beyond, only that products are those of the values, or nearly nothing
        assert np.isfinite(kept)
        assert (np.abs(got * np.float64(kept) - x) <= np.maximum(1e-33, np.abs(x).max() * 2.0**-13)).all()
        return
    assert np.array_equal(got, q[0]) and kept == scale[0, 0]
    assert np.linalg.norm(q.astype(np.float64)) * (2**15 + 4) < 2**31


@settings(max_examples=200, deadline=None)
@given(values=st.lists(st.floats(width=16, allow_nan=False, allow_infinity=False), min_size=BLOCK, max_size=BLOCK))
def test_integers_of_weights_are_near_and_bounded(values: list[float]) -> None:
    weights = np.array([values], np.float32)
    q, scale = integers_reference(weights)
    assert np.abs(q).max() <= 32767 and np.linalg.norm(q.astype(np.float64)) <= 2**15 + 4
    assert (np.abs(numbers(q, scale) - weights) <= scale[0, 0] / 2).all()


def test_records_are_made_for_batches_only() -> None:
    x = operands(MOST_LANES, 12, 2 * BLOCK)[1]
    assert not records(x, least=13).any() and records(x, least=12).any()


@pytest.mark.parametrize("isa", sorted(X86))
def test_batches_are_of_16_bit_floats_in_whole_tiles_and_blocks(isa: str) -> None:
    assert has_float16_batches(F16, 64, 576, isa) and has_float16_batches(BF16, 32, 64, isa)
    assert not has_float16_batches(F16, 72, 64, isa) and not has_float16_batches(F16, 64, 96, isa)
    assert not has_float16_batches(BY_NAME["F32"], 64, 64, isa) and not has_float16_batches(
        BY_NAME["Q8_0"], 64, 64, isa
    )
    assert not has_float16_batches(F16, 64, 64, "neon")
