"""Products of weights of 8 bits with activations of 16, and their records, compared with NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from instruction_sets import ISAS, REST
from naive import nmse, number, run
from numpy.typing import NDArray
from test_matmul import MOST_TOKENS, product

from llmlocal.quant.format import BY_NAME, Format
from llmlocal.quant.kernels.interleave import MOST_LANES
from llmlocal.quant.kernels.matmul import ROWS, SCRATCH_BYTES, matmul_reference
from llmlocal.quant.kernels.matmul_int16 import X86, matmul_int16, use_int16
from llmlocal.quant.kernels.q16_activations import (
    BLOCK,
    LINE,
    SCALE,
    q16_bytes,
    q16_reference,
    quantize_q16,
)

Array = NDArray[Any]
GUARD = 123456.0
OTHERS = [pytest.param(isa, marks=pytest.mark.slow) for isa in REST]


def records(x: Array, isa: str | None = None) -> Array:
    """The Q16 records of rows of activations."""
    out = np.zeros((len(x), q16_bytes(x.shape[1])), np.uint8)
    run(quantize_q16, isa, tokens=number(len(x)), x=x, out=out, k=x.shape[1])
    return out


def multiply(
    fmt: type[Format],
    data: Array,
    acts: Array,
    k: int,
    isa: str | None = None,
    threads: int = 1,
    bias: Array | int = 0,
) -> Array:
    """The kernel's y (tokens, rows); whatever lies beside y and beside the scratch memory must stay as it was."""
    tokens, rows = len(acts), len(data)
    y = np.full((tokens + 2, rows + 5), GUARD, np.float32)
    scratch = np.full(SCRATCH_BYTES * threads + 64, 0x5A, np.uint8)
    operands = {"weights": data, "x": acts, "y": y[1:, 2:], "scratch": scratch, "bias": bias}
    shape = {"rows": rows, "k": k, "row_bytes": fmt.row_bytes(k), "y_stride": rows + 5}
    run(matmul_int16(fmt), isa, threads, tokens=number(tokens), **operands, **shape)
    inside = np.zeros(y.shape, bool)
    inside[1:-1, 2 : rows + 2] = True
    assert (y[~inside] == GUARD).all() and (scratch[-64:] == 0x5A).all()
    return y[1:-1, 2 : rows + 2].copy()


def assert_products(fmt: type[Format], isa: str | None = None) -> None:
    """Numbers of rows and tokens that take different paths, against float64; a token's sums depend on no other."""
    for k in (fmt.block, 3 * 256):
        p = product(fmt, k)
        q, scale = q16_reference(p.x)
        exact = q.astype(np.float64) * np.repeat(scale.astype(np.float64), BLOCK, axis=-1)
        acts, weights = records(p.x, isa), fmt.dequantize(p.data).astype(np.float64)
        for rows in (MOST_LANES, 3 * MOST_LANES):
            whole = multiply(fmt, p.data[:rows], acts, k, isa)
            assert nmse(whole, exact @ weights[:rows].T) <= 1e-11
            for tokens in (1, 2, 3, 7):
                assert np.array_equal(multiply(fmt, p.data[:rows], acts[:tokens], k, isa), whole[:tokens])
        common = p.common[: 3 * MOST_LANES]
        assert nmse(whole[:, common], matmul_reference(weights[: 3 * MOST_LANES][common], p.x)) <= 1e-8


def test_products_equal_numpy() -> None:
    assert_products(BY_NAME["Q8_0"])


@pytest.mark.parametrize("isa", OTHERS)
def test_products_in_other_instruction_sets(isa: str) -> None:
    assert_products(BY_NAME["Q8_0"], isa)


def test_number_of_threads_changes_no_bit() -> None:
    fmt = BY_NAME["Q8_0"]
    p = product(fmt, 768)
    data, acts = np.concatenate([p.data[:96]] * 2), records(p.x)
    assert len(data) > 2 * ROWS
    assert np.array_equal(multiply(fmt, data, acts, 768, threads=3), multiply(fmt, data, acts, 768))


def test_biases_are_added() -> None:
    fmt = BY_NAME["Q8_0"]
    p = product(fmt, 768)
    bias, data, acts = np.arange(96, dtype=np.float32), p.data[:96], records(p.x)
    plain = multiply(fmt, data, acts, 768)
    assert nmse(multiply(fmt, data, acts, 768, bias=bias), plain.astype(np.float64) + bias) <= 1e-13


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_visible(bad: float) -> None:
    fmt = BY_NAME["Q8_0"]
    p = product(fmt, 768)
    x = p.x[:6].copy()
    x[2, 760], x[4, 0] = bad, bad
    y = multiply(fmt, p.data[:MOST_LANES], records(x), 768)
    for token, row in enumerate(y):
        assert np.isfinite(row).all() if token not in (2, 4) else not np.isfinite(row).any()


groups = st.lists(st.floats(-(2.0**120), 2.0**120, width=32), min_size=BLOCK, max_size=BLOCK)


@pytest.mark.parametrize("isa", ISAS)
@settings(max_examples=100, deadline=None)
@given(values=groups)
@example(values=[0.0] * BLOCK)
@example(values=[1e-40, *[0.0] * (BLOCK - 1)])
def test_records_equal_numpy(isa: str, values: list[float]) -> None:
    x = np.array([values], np.float32)
    record = records(x, isa)[0]
    with np.errstate(all="ignore"):
        q, scale = q16_reference(x)
    got, kept = record[: 2 * BLOCK].view(np.int16), record[SCALE:LINE].view(np.float32)[0]
    if not 1e-30 <= np.abs(x).max() <= 1e30:  # beyond, only that products are those of the values, or nearly nothing
        assert np.isfinite(kept)
        assert (np.abs(got * np.float64(kept) - x) <= np.maximum(1e-33, np.abs(x).max() * 2.0**-14)).all()
        return
    assert np.array_equal(got, q[0]) and kept == scale[0, 0]


def test_records_of_rows_lie_on_different_cache_sets() -> None:
    assert all(q16_bytes(k) // 64 % 2 == 1 and q16_bytes(k) >= k // BLOCK * LINE for k in range(BLOCK, 8192, BLOCK))
    assert MOST_TOKENS > 16  # what is multiplied above has whole panels and every rest


@pytest.mark.parametrize("isa", sorted(X86))
def test_int16_is_for_bytes_in_whole_tiles(isa: str) -> None:
    assert use_int16(BY_NAME["Q8_0"], 64, isa) and not use_int16(BY_NAME["Q8_0"], 72, isa)
    assert not use_int16(BY_NAME["F16"], 64, isa) and not use_int16(BY_NAME["Q4_K"], 64, isa)
    assert not use_int16(BY_NAME["Q8_0"], 64, "neon")
