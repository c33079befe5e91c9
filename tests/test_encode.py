"""Kernels that quantize, against their meaning in NumPy and against ggml's own quantizers."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from instruction_sets import REST
from naive import run
from numpy.typing import NDArray

from llmlocal.gguf import open_gguf
from llmlocal.quant.blocks.codebooks import codebook
from llmlocal.quant.format import BY_NAME, Format
from llmlocal.quant.formats import load_all
from llmlocal.quant.kernels.quantize_kernel import (
    FINITE,
    PEAK_STRIDE,
    SCRATCH_BYTES,
    SLACK,
    has_quantize_kernel,
    quantize_kernel,
)
from llmlocal.quant.scale_search.nearest_vector import Book

load_all()
Floats = NDArray[np.float32]
SLOW = pytest.mark.slow  # a kernel of its own for each
CODEBOOKS = ("IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S")
FORMATS = [
    pytest.param(f, id=name, marks=SLOW if name in CODEBOOKS else ())
    for name, f in sorted(BY_NAME.items())
    if has_quantize_kernel(f)
]
SEARCHED = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "Q4_0", "Q4_1", "Q5_0", "Q5_1", *CODEBOOKS)
QUICK = ("Q2_K", "Q4_K", "Q6_K", "IQ4_NL", "Q4_0", "Q5_1", "IQ3_S")  # each kind of search
EXACT = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "MXFP4")  # without importance
# A format of every kind of search on the other instruction sets.
OTHERS = [
    pytest.param(BY_NAME[name], isa, id=f"{name}-{isa}", marks=() if name in ("Q8_0", "Q5_1") else SLOW)
    for isa, names in (
        ("avx2", ("Q8_0", "Q4_K", "Q3_K", "IQ4_NL")),
        ("generic", ("Q5_1", "Q2_K", "IQ4_XS", "MXFP4", "IQ2_S")),
    )
    for name in names
    if isa in REST
]


def normal(rows: int, k: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, 0.02, (rows, k)).astype(np.float32)


def heavy(rows: int, k: int, seed: int = 0) -> Floats:
    return (0.02 * np.random.default_rng(seed).standard_t(4, (rows, k))).astype(np.float32)


def columns(k: int) -> Floats:
    return np.exp(np.random.default_rng(1).normal(0, 1.5, k)).astype(np.float32)


def encoded(
    f: type[Format], x: Floats, importance: Floats | None = None, isa: str | None = None, longer: bool = False
) -> tuple[NDArray[np.uint8], int]:
    """What the kernel makes of rows, and the bits of the greatest magnitude that it saw."""
    values, n, k = np.zeros(x.size + SLACK, np.float32), x.size // f.block, x.shape[-1]
    values[: x.size] = x.reshape(-1)
    out, peaks = np.zeros(n * f.nbytes + 4 * SLACK + 64, np.uint8), np.zeros(PEAK_STRIDE // 8, np.int64)
    held = None if importance is None else np.resize(importance, k + SLACK)
    kernel = quantize_kernel(f, important=importance is not None, more_effort=longer)
    fields: dict[str, Any] = {"values": values, "out": out, "blocks": n, "k": k, "peaks": peaks}
    fields |= {"importance": 0 if held is None else held, "scratch": np.full(SCRATCH_BYTES, 0xFF, np.uint8)}
    run(kernel, isa=isa, **fields)
    assert not out[n * f.nbytes + 4 * SLACK :].any()
    return out[: n * f.nbytes].reshape(*x.shape[:-1], f.row_bytes(k)), int(peaks[0])


def relative_rmse(got: Floats, want: Floats, weights: Floats | float = 1.0) -> float:
    lost = (got.astype(np.float64) - want) ** 2 * weights
    return float(np.sqrt(lost.sum() / (want.astype(np.float64) ** 2 * weights).sum()))


def assert_same(f: type[Format], got: NDArray[np.uint8], want: NDArray[np.uint8], x: Floats) -> None:
    """Nearly every byte: where two trials are as good as each other, rounding decides between them."""
    assert (got == want).mean() > 0.96
    error, meant = (relative_rmse(f.dequantize(data), x) for data in (got, want))
    assert error == pytest.approx(meant, rel=1e-2)


@pytest.mark.parametrize("f", FORMATS)
def test_kernel_equals_its_reference(f: type[Format]) -> None:
    for x in (normal(5, 512), heavy(3, 768), normal(1, 256), heavy(7, 1280, 5)):
        got, bits = encoded(f, x)
        assert bits == int(np.abs(x).max().view(np.int32))
        if f.name in EXACT:
            assert np.array_equal(got, f.quantize(x))
        else:
            assert_same(f, got, f.quantize(x), x)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=SLOW) for n in SEARCHED])
def test_kernel_with_importance_equals_its_reference(name: str) -> None:
    f = BY_NAME[name]
    for x in (normal(5, 512), heavy(3, 768), normal(1, 256)):
        importance = columns(x.shape[1])
        assert_same(f, encoded(f, x, importance)[0], f.quantize(x, importance), x)


@pytest.mark.parametrize(("f", "isa"), OTHERS)
def test_other_instruction_sets(f: type[Format], isa: str) -> None:
    x = heavy(5, 768)
    got, want = encoded(f, x, isa=isa)[0], f.quantize(x)
    if f.name in EXACT:
        assert np.array_equal(got, want)
    else:
        assert_same(f, got, want, x)


@pytest.mark.parametrize("f", [p for p in FORMATS if p.values[0].name in EXACT and p.values[0].block > 1])
def test_ties_zeros_and_mirrored_extremes(f: type[Format]) -> None:
    x = np.concatenate([normal(9, 1024) * np.float32(10.0**e) for e in (-20, -3, 0, 3, 20)])
    x[::5, ::3] = 0
    x[1::5] = np.round(x[1::5] * 100) / 100
    x[2::5, 1::32], x[2::5, 20::32] = 7, -7
    x[3::5, 1::32], x[3::5, 0::32] = 7, -7
    x[4::5, 64:512] = -0.0
    assert np.array_equal(encoded(f, x)[0], f.quantize(x))


@pytest.mark.parametrize("name", ["Q4_K", "Q6_K", "IQ4_XS", pytest.param("IQ1_M", marks=SLOW)])
def test_unusual_blocks(name: str) -> None:
    """Zeros, constants, subnormals and huge values among others change nothing about their neighbours."""
    f, x = BY_NAME[name], normal(8, 1024)
    want = encoded(f, x)[0]
    for row, value in ((1, 0.0), (3, -0.7), (5, 1e-40), (7, 3e38)):
        x[row, :256] = value
    x[6, 300] = 1e30
    got = encoded(f, x)[0]
    assert np.array_equal(got[[0, 2, 4]], want[[0, 2, 4]])
    assert np.array_equal(got[1::2, f.nbytes :], want[1::2, f.nbytes :])
    back = f.dequantize(got)
    assert not back[1, :256].any()
    assert back[3, :256] == pytest.approx(np.full(256, -0.7), rel=0.05)


@pytest.mark.parametrize("name", CODEBOOKS)
def test_the_nearest_vector_is_found(name: str) -> None:
    """Against all vectors of the codebook, in float64."""
    vectors, rng = 8 * codebook(name), np.random.default_rng(0)
    book = Book(vectors)
    x = rng.normal(0, 0.5, (vectors.shape[1], 40)).astype(np.float32) * np.abs(vectors).max()
    w, scale = rng.uniform(0.1, 2, x.shape).astype(np.float32), rng.uniform(0.3, 2, 40).astype(np.float32)
    shift = rng.choice([-1, 1], 40).astype(np.float32)
    error, best = book.nearest(x, w, scale, shift)
    levels = (vectors[..., None] + shift.astype(np.float64)) * scale
    every = (w * (x - levels) ** 2).sum(axis=1)
    np.testing.assert_allclose(error, every.min(axis=0), rtol=1e-4)
    np.testing.assert_allclose(every[book.index[best], np.arange(40)], every.min(axis=0), rtol=1e-4)
    assert np.array_equal(book.vectors[best], vectors[book.index[best]])


@pytest.mark.parametrize("f", FORMATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_seen(f: type[Format], bad: float) -> None:
    x = normal(2, 512)
    x[1, 511] = bad
    assert encoded(f, x)[1] >= FINITE


@pytest.mark.parametrize("name", [n if n in ("Q4_K", "Q6_K") else pytest.param(n, marks=SLOW) for n in SEARCHED])
def test_more_effort_means_less_error(name: str) -> None:
    f, x = BY_NAME[name], heavy(16, 512)
    errors = [relative_rmse(f.dequantize(encoded(f, x, longer=longer)[0]), x) for longer in (True, False)]
    assert errors[0] <= errors[1] * (1.001 if f.needs_importance else 1)  # they minimize a weighted error


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHED)
@pytest.mark.parametrize("kind", ["normal", "heavy", "real"])
def test_error_is_at_most_ggmls(name: str, kind: str, stories: Path) -> None:
    """Relative RMSE at most 1.00 times that of `ggml_quantize_chunk`: plain, and weighted by an importance matrix."""
    f = BY_NAME[name]
    x = {"normal": lambda: normal(96, 1024), "heavy": lambda: heavy(96, 1024), "real": lambda: real(stories)}[kind]()
    even = np.ones(x.shape[1], np.float32) if f.needs_importance else None  # ggml ends the process without any
    got, theirs = encoded(f, x, even)[0], ggml(f, x, even)
    assert relative_rmse(f.dequantize(got), x) <= relative_rmse(f.dequantize(theirs), x)
    importance = columns(x.shape[1])
    got, theirs = encoded(f, x, importance)[0], ggml(f, x, importance)
    assert relative_rmse(f.dequantize(got), x, importance) <= relative_rmse(f.dequantize(theirs), x, importance)


def real(stories: Path) -> Floats:
    """The matrices of a trained model, in rows of 1024."""
    with open_gguf(stories / "stories260K-f32.gguf") as gguf:
        every = np.concatenate([t.dequantize().ravel() for t in gguf.tensors.values() if len(t.shape) == 2])
    return every[: len(every) // 1024 * 1024].reshape(-1, 1024)


def ggml(f: type[Format], x: Floats, importance: Floats | None = None) -> NDArray[np.uint8]:
    """What ggml's library makes of rows."""
    base = pytest.importorskip("llama_cpp").__file__
    library = ctypes.CDLL(os.path.join(os.path.dirname(base), "lib", "libggml-base.so"))
    out = np.zeros((len(x), f.row_bytes(x.shape[1])), np.uint8)
    library.ggml_quantize_init(ctypes.c_int(f.id))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk(
        ctypes.c_int(f.id),
        ctypes.c_void_p(x.ctypes.data),
        ctypes.c_void_p(out.ctypes.data),
        ctypes.c_int64(0),
        ctypes.c_int64(len(x)),
        ctypes.c_int64(x.shape[1]),
        ctypes.c_void_p(0 if importance is None else importance.ctypes.data),
    )
    return out
