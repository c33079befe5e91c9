"""Products, embedding rows and activations of every format: a new file in `quant/formats/` is tested by existing."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from instruction_sets import ISAS, REST
from naive import encoded, nmse, number, random_blocks, run
from numpy.typing import NDArray
from product_formats import PRODUCT_FORMATS

from llmlocal.quant.format import BY_NAME, Format
from llmlocal.quant.jit import cpu
from llmlocal.quant.jit.compiler import compile_assembly
from llmlocal.quant.kernels.get_rows import get_rows
from llmlocal.quant.kernels.matmul import MAX_BATCH_ROWS, ROWS, SCRATCH_BYTES, matmul, matmul_reference
from llmlocal.quant.kernels.panels import PASS_TOKENS
from llmlocal.quant.kernels.q8_activations import (
    HALVES_SHIFT,
    SIGN_LINE,
    SUM_SHIFT,
    q8_bytes,
    q8_reference,
    q8_signs,
    quantize_q8,
)

Array = NDArray[Any]
# Other instruction sets than this machine's best are compiled for a few formats that need different words.
CHOSEN = {"avx2": ("Q4_0", "Q6_K", "Q8_0"), "avxvnni": ("Q8_0",), "generic": ("Q5_1", "Q6_K", "Q8_0")}
QUICK = (("avx2", "Q4_0"), ("avxvnni", "Q8_0"), ("generic", "Q6_K"))
OTHERS = [
    pytest.param(BY_NAME[name], isa, id=f"{name}-{isa}", marks=() if (isa, name) in QUICK else pytest.mark.slow)
    for isa in REST
    for name in CHOSEN.get(isa, ())
]
MOST_ROWS, MOST_TOKENS, GUARD = 129, 32, 123456.0
SHAPES = [(rows, tokens) for rows in (1, 7, 16, 37, 64, 100, 129) for tokens in (1, 4, 9)]
SHAPES += [(37, tokens) for tokens in (2, 3, 5, 6, 7, 8, 19, 32)]


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A matrix of a format, activations, and what kernels read of them."""

    fmt: type[Format]
    k: int
    data: Array  # (MOST_ROWS, row_bytes)
    common: Array  # which rows hold normal numbers, (MOST_ROWS,)
    x: Array  # (MOST_TOKENS, k) float32
    acts: Array  # what the kernel reads: `x`, or its Q8 records
    exact: Array  # the same numbers as float64

    @property
    def stride(self) -> int:
        return int(self.acts.strides[0])


@cache
def product(fmt: type[Format], k: int) -> Product:
    rng = np.random.default_rng(k)
    values = rng.normal(0, 0.02, (MOST_ROWS, k)).astype(np.float32)
    data = encoded(fmt, values).reshape(MOST_ROWS, -1)
    common = np.arange(MOST_ROWS) % 2 == 1
    if fmt.block > 1:  # the other rows: every bit of every field
        common &= nmse(fmt.dequantize(data), values) < 1
        data[::2] = random_blocks(fmt, (len(data[::2]), k), 0.02)
    x = rng.normal(0, 1, (MOST_TOKENS, k)).astype(np.float32)
    if fmt.activations == "f32":
        return Product(fmt, k, data, common, x, x, x.astype(np.float64))
    q, scale = q8_reference(x)
    exact = q.astype(np.float64) * np.repeat(scale.astype(np.float64), 32, axis=-1)
    return Product(fmt, k, data, common, x, records(x), exact)


def records(x: Array) -> Array:
    """The Q8 records of rows of activations."""
    out = np.zeros((len(x), q8_bytes(x.shape[1])), np.uint8)
    run(quantize_q8, tokens=number(len(x)), x=x, out=out, k=x.shape[1])
    return out


def multiply(p: Product, rows: int, tokens: int, isa: str | None = None, threads: int = 1, **other: Array) -> Array:
    """The kernel's y (tokens, rows); whatever lies beside y and beside the scratch memory must stay as it was."""
    y = np.full((tokens + 2, rows + 5), GUARD, np.float32)
    scratch = np.full(SCRATCH_BYTES * threads + 64, 0xFF, np.uint8)
    operands = {"weights": p.data, "x": p.acts} | other
    shape = {"rows": rows, "k": p.k, "row_bytes": p.fmt.row_bytes(p.k), "y_stride": rows + 5}
    target = y[1:, 2:]
    run(matmul(p.fmt), isa, threads, tokens=number(tokens), y=target, scratch=scratch, **shape, **operands)
    inside = np.zeros(y.shape, bool)
    inside[1:-1, 2 : rows + 2] = True
    assert (y[~inside] == GUARD).all() and (scratch[-64:] == 0xFF).all()
    return y[1:-1, 2 : rows + 2].copy()


def assert_close(p: Product, got: Array) -> None:
    """Bound B3, against the same operands; and B4, of common weights and activations before they became bytes."""
    tokens, rows = got.shape
    weights, whole, most = meaning(p)
    want = whole[:tokens, :rows]
    assert ((got - want) ** 2).mean() <= 1e-11 * (whole**2).mean()
    assert (np.abs(got - want) <= 16 * 2.0**-24 * most[:tokens, :rows]).all()
    common = weights[:rows][p.common[:rows]]
    if common.size * tokens >= 1 << 16:  # the bound is that of a mean
        assert nmse(got[:, p.common[:rows]], matmul_reference(common, p.x[:tokens])) <= 6e-5


def magnitudes(p: Product, weights: Array) -> Array:
    """What the terms that a kernel adds are at most, as a part of the activation.

    Ternary types are multiplied as d * (0, 1 or 2) less d, so that of a weight of 0 two terms of the block's d cancel
    out.
    """
    if p.fmt.name not in ("TQ1_0", "TQ2_0", "Q2_0"):
        return np.abs(weights)
    blocks = np.abs(weights).reshape(len(weights), -1, p.fmt.block)
    return np.broadcast_to(blocks.max(axis=2, keepdims=True), blocks.shape).reshape(weights.shape)


@lru_cache(1)
def meaning(p: Product) -> tuple[Array, Array, Array]:
    """Weights, products of all rows and tokens, and what their terms add up to at most, in float64."""
    weights = p.fmt.dequantize(p.data).astype(np.float64)
    return weights, p.exact @ weights.T, np.abs(p.exact) @ magnitudes(p, weights).T


def sizes(fmt: type[Format]) -> list[int]:
    """Rows of one block, a few, and longer than what kernels unpack at once; of any size where there are no blocks."""
    odd = [1, 3, 45, 1031] if fmt.block == 1 else []
    return sorted({fmt.block, 3 * fmt.block, *odd, *(k for k in (576, 2048, 2304, 4096) if k % fmt.block == 0)})


@pytest.mark.parametrize("fmt", PRODUCT_FORMATS)
def test_products_of_all_shapes(fmt: type[Format]) -> None:
    for k in sizes(fmt):
        p = product(fmt, k)
        for rows, tokens in SHAPES:
            assert_close(p, multiply(p, rows, tokens))


@pytest.mark.parametrize(("fmt", "isa"), OTHERS)
def test_products_in_other_instruction_sets(fmt: type[Format], isa: str) -> None:
    for k in sizes(fmt):
        p = product(fmt, k)
        for rows, tokens in ((37, 1), (37, 4), (64, 9), (129, 5)):
            assert_close(p, multiply(p, rows, tokens, isa))


@pytest.mark.parametrize("fmt", PRODUCT_FORMATS)
def test_weights_may_lie_anywhere(fmt: type[Format]) -> None:
    p = product(fmt, 2304)
    for tokens in (5, 9):
        aligned = multiply(p, 37, tokens)
        for shift in (1, 2, 3, 30):
            moved = np.concatenate([np.zeros(shift, np.uint8), p.data.ravel()])[shift:]
            assert np.array_equal(multiply(p, 37, tokens, weights=moved), aligned)


@pytest.mark.parametrize("tokens", [1, 5, 9])
@pytest.mark.parametrize("fmt", PRODUCT_FORMATS)
def test_number_of_threads_changes_no_bit(fmt: type[Format], tokens: int) -> None:
    p = product(fmt, 2304)
    alone = multiply(p, 2 * ROWS + 1, tokens)
    for threads in (2, 3, 8):
        assert np.array_equal(multiply(p, 2 * ROWS + 1, tokens, threads=threads), alone)


@pytest.mark.parametrize("name", ["Q4_0", "Q6_K", "Q8_0"])
def test_batches_of_several_passes(name: str) -> None:
    """Tokens and rows that recur have the same bits wherever they are; one thread takes 128 rows at once, two 64."""
    p = product(BY_NAME[name], 2304)
    tokens, rows = np.arange(PASS_TOKENS + 9) % MOST_TOKENS, np.arange(4 * MAX_BATCH_ROWS + 37) % (MOST_ROWS - 1)
    few = multiply(p, MOST_ROWS - 1, MOST_TOKENS)
    operands = {"weights": np.ascontiguousarray(p.data[rows]), "x": np.ascontiguousarray(p.acts[tokens])}
    tiled = len(rows) - 37  # what is left is read row by row, in another order
    for threads in (1, 2):
        got = multiply(p, len(rows), len(tokens), threads=threads, **operands)
        assert np.array_equal(got[:, :tiled], few[tokens][:, rows[:tiled]])
    rest = multiply(p, 3, len(tokens), x=operands["x"])  # fewer rows than a tile has
    assert np.array_equal(rest, multiply(p, 3, MOST_TOKENS)[tokens])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("fmt", PRODUCT_FORMATS)
def test_activations_that_are_not_finite_stay_visible(fmt: type[Format], bad: float) -> None:
    p = product(fmt, 2304)
    x = p.x[:9].copy()
    x[2, 2300], x[4, 0] = bad, bad
    acts = x if fmt.activations == "f32" else records(x)
    for tokens in (range(9), range(5), [2], [4]):
        y = multiply(p, 37, len(tokens), x=np.ascontiguousarray(acts[[*tokens]]))
        for row, token in zip(y, tokens, strict=True):
            assert np.isfinite(row).all() if token not in (2, 4) else not np.isfinite(row).any()


@pytest.mark.parametrize("fmt", PRODUCT_FORMATS)
def test_weights_that_are_not_finite_stay_visible(fmt: type[Format]) -> None:
    """The first and the last block of two rows, filled with what the format reads as infinite or NaN."""
    p = product(fmt, 2304)
    for pattern in (0x7FFF7FFF, 0x7C007C00, 0x7F800000):
        block = np.resize(np.array([pattern], np.uint32).view(np.uint8), fmt.nbytes)
        if np.isfinite(fmt.dequantize(block)).all():
            continue
        data = p.data.copy()
        data[3, : fmt.nbytes], data[36, -fmt.nbytes :] = block, block
        for tokens in (1, 5, 9):
            finite = np.isfinite(multiply(p, 37, tokens, weights=data))
            assert not finite[:, [3, 36]].any() and np.delete(finite, [3, 36], axis=1).all()


@pytest.mark.parametrize("fmt", [pytest.param(*format.values, id=format.id) for format in PRODUCT_FORMATS])
def test_gather_is_bit_equal_to_dequantize(fmt: type[Format]) -> None:
    for k in sizes(fmt):
        row_bytes = fmt.row_bytes(k)
        random = np.random.default_rng(k).integers(0, 256, (8, row_bytes), np.uint8)
        whole = product(fmt, k).data[:20] if fmt.block == 1 else random_blocks(fmt, (20, k), 0.02)
        table = np.concatenate([whole, random])
        ids = np.array([27, 0, 0, 19, *range(20, 27)], np.int64)
        out = np.full((len(ids) + 2, k), GUARD, np.float32)
        run(get_rows(fmt), tokens=number(len(ids)), ids=ids, weights=table, out=out[1:], k=k, row_bytes=row_bytes)
        want, got = fmt.dequantize(table[ids]), out[1:-1]
        same = (
            (got.view(np.uint32) == want.view(np.uint32))
            | (np.isnan(got) & np.isnan(want))
            | ((got == 0) & (want == 0))
        )
        assert same.all() and (out[[0, -1]] == GUARD).all()


@pytest.mark.parametrize("fmt", [f for f in BY_NAME.values() if not f.activations])
def test_formats_that_are_only_stored_are_refused(fmt: type[Format]) -> None:
    for kernel in (matmul, get_rows):
        with pytest.raises(ValueError, match=fmt.name):
            kernel(fmt)


def read_up_to_the_last_byte(slow: bool) -> None:
    """Run formats' kernels on weights behind which no page can be read; the process dies if one is."""
    page, libc = mmap.PAGESIZE, ctypes.CDLL(None, use_errno=True)
    for fmt in (param.values[0] for param in PRODUCT_FORMATS if bool(param.marks) == slow):
        p = product(fmt, sizes(fmt)[1])
        data = p.data[:37]
        pages = -(-data.nbytes // page) * page
        area = mmap.mmap(-1, pages + page)
        memory = np.frombuffer(area, np.uint8)
        weights = memory[pages - data.nbytes : pages]
        weights[:] = data.ravel()
        assert libc.mprotect(ctypes.c_void_p(memory.ctypes.data + pages), ctypes.c_size_t(page), 0) == 0
        for tokens in (1, 5, 9):
            multiply(p, 37, tokens, weights=weights)
        ids, out = np.array([36], np.int64), np.zeros(p.k, np.float32)
        row_bytes = fmt.row_bytes(p.k)
        run(get_rows(fmt), tokens=number(1), ids=ids, weights=weights, out=out, k=p.k, row_bytes=row_bytes)


@pytest.mark.skipif(sys.platform == "win32", reason="mprotect is POSIX")
@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_no_kernel_reads_beyond_the_weights(slow: bool) -> None:
    """A tensor may end where its file's mapping ends."""
    command = [sys.executable, "-c", f"import test_matmul; test_matmul.read_up_to_the_last_byte({slow})"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# ---- activations ---------------------------------------------------------------------------------------------------


def fields(record: Array, k: int) -> dict[str, Array]:
    """The parts of a Q8 record, as `activations` describes it."""
    lines, columns = record[: 2 * k].reshape(-1, 64), record[2 * k : 2 * k + 3 * k // 8].view(np.float32)
    return {
        "bytes": lines[:, :32].view(np.int8),
        "scale": lines[:, 32:36].view(np.float32)[:, 0],
        "sum": lines[:, 36:40].view(np.int32)[:, 0],
        "scaled": lines[:, 40:44].view(np.float32)[:, 0],
        "scaled_low": lines[:, 44:48].view(np.float32)[:, 0],
        "halves": lines[:, 48:56].view(np.int32),
        "pairs": lines[:, 56:64].view(np.int16),
        "columns": columns.reshape(3, -1),
        "plain": record[k * 19 // 8 : k * 27 // 8].view(np.int8),
        "signs": record[q8_signs(k) : q8_signs(k) + k // 32 * SIGN_LINE].reshape(-1, SIGN_LINE),
    }


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("k", [32, 96, 256, 2304])
def test_q8_records_hold_what_they_say(k: int, isa: str) -> None:
    rng = np.random.default_rng(k)
    x = (rng.normal(size=(9, k)) * 10.0 ** rng.integers(-8, 8, (9, 1))).astype(np.float32)
    x[1], x[2] = 0, np.tile([0.5, -1.5, 127, 2.5], k // 4)  # ties
    x[3, : k // 2] = 0
    out = np.full((len(x) + 1, q8_bytes(k)), 0xFF, np.uint8)
    run(quantize_q8, isa, 2, tokens=number(len(x)), x=x, out=out, k=k)
    q, scale = q8_reference(x)
    for record, bytes_of, scales in zip(out, q.reshape(9, -1, 32), scale, strict=False):
        sums, got = -bytes_of.reshape(-1, 2, 16).sum(-1, dtype=np.int32), fields(record, k)
        assert np.array_equal(got["bytes"], bytes_of) and np.array_equal(got["plain"], bytes_of.ravel())
        assert np.array_equal(got["scale"], scales) and np.array_equal(got["sum"], sums.sum(-1) << SUM_SHIFT)
        assert np.array_equal(got["halves"], sums << HALVES_SHIFT)
        assert np.array_equal(got["scaled"], scales * -sums.sum(-1).astype(np.float32))
        assert np.array_equal(got["scaled_low"], scales * -sums[:, 0].astype(np.float32))
        pairs = bytes_of.reshape(-1, 2, 4, 2, 2).sum((2, 4), dtype=np.int16)
        assert np.array_equal(got["pairs"], -32 * pairs.reshape(-1, 4))
        if isa == "avx2":
            negative = np.maximum(-bytes_of.astype(np.int32), 0).sum(-1, keepdims=True, dtype=np.int32)
            lines = [abs(bytes_of), np.where(bytes_of < 0, 255, 0).astype(np.uint8), negative, scales[:, None]]
            assert np.array_equal(got["signs"], np.concatenate([line.view(np.uint8) for line in lines], axis=1))
        assert np.array_equal(got["columns"], np.stack([scales, *sums.T.astype(np.float32)]))
    assert (out[-1] == 0xFF).all()


def test_tiny_activations_vanish_quietly() -> None:
    """The inverse of a subnormal scale is infinite; products with it must come out small, not wild."""
    p = product(BY_NAME["Q8_0"], 256)
    x = np.full((9, 256), 1e-40, np.float32)
    x[1:, ::3] = 0
    for tokens in (1, 5, 9):
        assert np.abs(multiply(p, 37, tokens, x=records(x))).max() < 1e-36


# ---- the machine's instructions ------------------------------------------------------------------------------------


def loops(assembly: str) -> list[list[str]]:
    """Instructions of the innermost loops: from a label to a jump back to it, with no other label's jump between."""
    lines = [line.split("#")[0].strip() for line in assembly.splitlines()]
    lines = [line for line in lines if line and (line.endswith(":") or not line.startswith("."))]
    labels = {line[:-1]: i for i, line in enumerate(lines) if line.endswith(":")}
    back = [
        (labels[line.split()[-1]], i)
        for i, line in enumerate(lines)
        if line.startswith("j") and line.split()[-1] in labels
    ]
    spans = [(a, b) for a, b in back if a < b]
    inner = [(a, b) for a, b in spans if not any((c, d) != (a, b) and a <= c and d <= b for c, d in spans)]
    return [[line for line in lines[a : b + 1] if not line.endswith(":")] for a, b in inner]


@pytest.mark.parametrize(
    ("isa", "product", "register"),
    [
        ("avx2", "vpmaddubsw", "ymm"),
        pytest.param("avxvnni", "vpdpbusd", "ymm", marks=pytest.mark.slow),
        ("avx512", "vpdpbusd", "zmm"),
    ],
)
def test_kernels_use_the_instructions_they_are_written_for(isa: str, product: str, register: str) -> None:
    if isa not in cpu.offered():
        pytest.skip(f"this CPU has no {isa}")
    busy = [
        loop for loop in loops(compile_assembly(matmul(BY_NAME["Q4_0"]), isa)) if any(product in line for line in loop)
    ]
    assert busy
    assert any(product in line and register in line for loop in busy for line in loop)
    assert not any(line.startswith("call") for loop in busy for line in loop)
