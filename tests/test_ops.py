"""The float kernels against their references in float64."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from instruction_sets import BEST, ISAS, OTHERS, REST
from naive import nmse, number, run, turn_neighbours
from numpy.typing import NDArray

from llmlocal.layers.key_range import KeyRange
from llmlocal.ops.activations import (
    geglu,
    geglu_erf,
    geglu_erf_reference,
    geglu_reference,
    gelu,
    gelu_erf,
    gelu_erf_reference,
    gelu_reference,
    relu,
    relu_reference,
    relu_squared,
    relu_squared_reference,
    swiglu,
    swiglu_clamped,
    swiglu_clamped_reference,
    swiglu_reference,
    tanh,
    tanh_reference,
)
from llmlocal.ops.alibi import alibi_slopes
from llmlocal.ops.attention import (
    NO_RING,
    SPLIT_TOKENS,
    attention,
    attention_merge,
    attention_reference,
    chunks,
    partials_bytes,
    scratch_bytes,
)
from llmlocal.ops.attention_chunk import CHUNK
from llmlocal.ops.elementwise import (
    add,
    add_bias,
    lerp,
    limit,
    limit_reference,
    multiply,
    scale,
    scale_rows,
    softcap,
    softcap_reference,
)
from llmlocal.ops.exp import exp
from llmlocal.ops.gather_rows import gather_rows
from llmlocal.ops.kv import find as find_kv_type
from llmlocal.ops.kv.kv_type import ALIGN, padded
from llmlocal.ops.kv.store import kv_store
from llmlocal.ops.layer_norm import layer_norm, layer_norm_reference
from llmlocal.ops.mean_rows import mean_rows, mean_rows_reference
from llmlocal.ops.relative_scores import part_scores, relative_scores, relative_scores_reference
from llmlocal.ops.rms_norm import rms_norm, rms_norm_reference
from llmlocal.ops.rope import rope_interleaved, rope_neox, rope_reference, rope_table
from llmlocal.ops.softmax import NO_SINK
from llmlocal.ops.xielu import xielu, xielu_reference
from llmlocal.quant.jit.kernel import Kernel
from llmlocal.quant.kernels.q8_activations import q8_bytes, q8_reference, quantize_q8
from llmlocal.quant.simd.instruction_set import InstructionSet
from llmlocal.runtime.batch import Batch

Array = NDArray[Any]
VERSION = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def wide(x: Array) -> NDArray[np.float64]:
    return x.astype(np.float64)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("width", "per_token"), [(1, 1), (7, 1), (8, 3), (64, 4), (80, 2), (2048, 1), (4099, 1)])
def test_rms_norm(width: int, per_token: int, isa: str) -> None:
    x, weight = normal(6 * per_token, width), normal(width, seed=1)
    for row, size in enumerate((1.0, 0.0, 1e-30, 1e-3, 1e4, 1e17)):
        x[row * per_token] *= np.float32(size)
    out = np.empty_like(x)
    run(rms_norm, isa, 2, tokens=number(6), x=x, weight=weight, out=out, width=width, per_token=per_token, eps=1e-5)
    want = rms_norm_reference(wide(x), wide(weight), float(np.float32(1e-5)))
    assert all(nmse(a, b) <= 1e-10 for a, b in zip(out, want, strict=True))


def test_rms_norm_keeps_what_is_not_finite_visible() -> None:
    x = np.ones((4, 19), np.float32)
    x[0, 3], x[1, 18], x[2, 0] = np.nan, np.inf, -np.inf
    out = np.empty_like(x)
    run(rms_norm, tokens=number(4), x=x, weight=np.ones(19, np.float32), out=out, width=19, per_token=1, eps=1e-5)
    assert (np.isnan(out).any(axis=1) == [True, True, True, False]).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize(
    ("head_dim", "rotary_dim"), [(64, 64), (128, 128), (80, 80), (80, 32), (6, 6), (10, 6), (17, 14), (8, 0)]
)
def test_rope(head_dim: int, rotary_dim: int, interleaved: bool, isa: str) -> None:
    x, positions = normal(5, 3, head_dim), np.array([0, 1, 77, 4095, 131_071])
    table = rope_table(positions, 10000.0 ** (-np.arange(0, rotary_dim, 2) / max(rotary_dim, 1)), 1.2, interleaved)
    out = x.copy()
    kernel = rope_interleaved if interleaved else rope_neox
    run(kernel, isa, 2, tokens=number(5), x=out, table=table, heads=3, head_dim=head_dim, rotary_dim=rotary_dim)
    assert nmse(out, rope_reference(wide(x), wide(table), interleaved)) <= 1e-10
    assert np.array_equal(out[..., rotary_dim:], x[..., rotary_dim:])


@pytest.mark.parametrize("interleaved", [True, False])
def test_rope_reference_rotates_complex_numbers(interleaved: bool) -> None:
    x, frequencies = wide(normal(9, 2, 20)), 100.0 ** (-np.arange(8) / 8)
    pairs = np.arange(16) if interleaved else np.arange(16).reshape(2, 8).T.ravel()
    want = x.copy()
    want[..., pairs] = turn_neighbours(x[..., pairs], frequencies, 0.9)
    got = rope_reference(x, wide(rope_table(np.arange(9), frequencies, 0.9, interleaved)), interleaved)
    assert nmse(got, want) <= 1e-14


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("width", "per_token"), [(1, 1), (7, 1), (8, 3), (64, 4), (80, 2), (2048, 1), (4099, 1)])
def test_layer_norm(width: int, per_token: int, isa: str) -> None:
    x, weight = normal(6, per_token, width), normal(per_token, width, seed=1)
    for row, size in enumerate((1.0, 0.0, 1e-30, 1e-3, 1e4, 1e17)):
        x[row] *= np.float32(size)
    x[0] += np.float32(20)  # a mean far from 0
    out = np.empty_like(x)
    run(layer_norm, isa, 2, tokens=number(6), x=x, weight=weight, out=out, width=width, per_token=per_token, eps=1e-5)
    want = layer_norm_reference(wide(x), wide(weight), float(np.float32(1e-5)))
    if width == 1:  # nothing but the mean's rounding is left
        assert np.abs(out[:4] - want[:4]).max() <= 1e-2
    else:
        assert all(nmse(a, b) <= 1e-10 for a, b in zip(out, want, strict=True))


GATES = {"swiglu": swiglu_reference, "swiglu_clamped": swiglu_clamped_reference, "geglu": geglu_reference}
GATES["geglu_erf"] = geglu_erf_reference
UNARY = {
    "gelu": gelu_reference,
    "gelu_erf": gelu_erf_reference,
    "tanh": tanh_reference,
    "relu": relu_reference,
    "relu_squared": relu_squared_reference,
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("gated", [swiglu, swiglu_clamped, geglu, geglu_erf], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("width", [1, 7, 8, 100, 1024])
def test_gates(width: int, gated: Kernel, isa: str) -> None:
    gate, up = normal(20, width), normal(20, width, seed=1)
    gate *= np.float32(10.0) ** np.arange(-15, 5, dtype=np.float32)[:, None]
    up *= np.float32(4)
    gate[-1, :3], gate[-2, -1] = [-1e4, 1e4, -88][:width], 0
    out = np.empty_like(gate)
    run(gated, isa, 2, tokens=number(20), gate=gate, up=up, out=out, width=width)
    want = GATES[gated.name](wide(gate), wide(up))
    assert all(nmse(a, b) <= 1e-10 for a, b in zip(out, want, strict=True))
    run(gated, isa, tokens=number(20), gate=gate, up=up, out=gate, width=width)
    assert np.array_equal(gate, out)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kernel", [gelu, gelu_erf, relu, relu_squared], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("width", [1, 7, 100])
def test_activations(width: int, kernel: Kernel, isa: str) -> None:
    x = normal(20, width) * np.float32(10.0) ** np.arange(-15, 5, dtype=np.float32)[:, None]
    out = np.empty_like(x)
    run(kernel, isa, 2, tokens=number(20), x=x, out=out, width=width)
    assert all(nmse(a, b) <= 1e-10 for a, b in zip(out, UNARY[kernel.name](wide(x)), strict=True))


@pytest.mark.parametrize("width", [1, 7, 100])
def test_products_of_elements(width: int) -> None:
    x, y = normal(20, width), normal(20, width, seed=1)
    want = x * y
    run(multiply, None, 2, tokens=number(20), x=x, y=y, out=x, width=width)
    assert np.array_equal(x, want)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("width", [7, 100])
def test_xielu(width: int, isa: str) -> None:
    x = normal(20, width) * np.float32(10.0) ** np.arange(-15, 5, dtype=np.float32)[:, None]
    shape = {"positive": 0.7, "negative": 1.3, "beta": 0.5, "eps": -1e-6}
    want = xielu_reference(wide(x), **{name: float(np.float32(value)) for name, value in shape.items()})
    run(xielu, isa, 2, tokens=number(20), x=x, width=width, **shape)
    assert all(nmse(a, b) <= 1e-10 for a, b in zip(x, want, strict=True))


@pytest.mark.parametrize("isa", ISAS)
def test_tanh(isa: str) -> None:
    x = np.concatenate([normal(3, 37) * np.float32(4), np.full((1, 37), 200), np.full((1, 37), -200)]).astype("f4")
    out = np.empty_like(x)
    run(tanh, isa, 2, tokens=number(5), x=x, out=out, width=37)
    assert nmse(out, tanh_reference(wide(x))) <= 1e-13 and np.isfinite(out).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("width", [1, 7, 8, 100])
def test_mean_rows(width: int, isa: str) -> None:
    x, starts = normal(70, width), np.array([0, 1, 3, 70], np.int64)
    out = np.empty((3, width), np.float32)
    run(mean_rows, isa, 2, outputs=number(3), starts=starts, x=x, out=out, width=width)
    assert nmse(out, mean_rows_reference(wide(x), starts)) <= 1e-12 and np.array_equal(out[0], x[0])


@pytest.mark.parametrize("gated", [swiglu, geglu, geglu_erf], ids=lambda kernel: kernel.name)
def test_gates_keep_what_is_not_finite_visible(gated: Kernel) -> None:
    gate, up = np.ones((1, 19), np.float32), np.ones((1, 19), np.float32)
    gate[0, [1, 18]], up[0, [2, 17]], gate[0, 4] = np.nan, np.nan, np.inf
    run(gated, tokens=number(1), gate=gate, up=up, out=gate, width=19)
    assert set(np.flatnonzero(~np.isfinite(gate))) == {1, 2, 4, 17, 18}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("width", [1, 7, 100])
def test_softcap_and_limit(width: int, isa: str) -> None:
    x = normal(5, width) * np.array([[0.1], [3], [30], [300], [1e30]], np.float32)
    capped, limited = x.copy(), x.copy()
    run(softcap, isa, 2, tokens=number(5), x=capped, width=width, cap=30.0)
    want = softcap_reference(wide(x), 30.0)
    assert nmse(capped, want) <= 1e-12 and np.abs(capped - want).max() <= 1e-5
    run(limit, isa, 2, tokens=number(5), x=limited, width=width, most=8.0)
    assert np.array_equal(limited, limit_reference(wide(x), 8.0).astype(np.float32)) and np.abs(limited).max() <= 8


@pytest.mark.parametrize("width", [1, 7, 8, 100, 1024])
def test_sums_and_copies_are_exact(width: int) -> None:
    x, y, rows = normal(5, width), normal(5, width, seed=1), np.array([4, 0, 0, 2], np.int64)
    out, chosen, biased, scaled, own = np.empty_like(x), np.empty((4, width), np.float32), x.copy(), x.copy(), x.copy()
    rows_apart = normal(5, width, seed=2)
    run(add, None, 2, tokens=number(5), x=x, y=y, out=out, width=width)
    run(add_bias, None, 2, tokens=number(5), x=biased, out=biased, bias=y[3], width=width)
    run(gather_rows, None, 2, outputs=number(4), rows=rows, x=x, out=chosen, width=width)
    run(scale, None, 2, tokens=number(5), x=scaled, width=width, factor=0.3)
    run(scale_rows, None, 2, tokens=number(5), x=own, factors=np.ascontiguousarray(y[:, 0]), width=width)
    for factors, row in ((y[0], 0), (rows_apart, 4 * width)):
        between = np.empty_like(x)
        shared = {"tokens": number(5), "factors": factors, "factors_row": row, "width": width}
        run(lerp, None, 2, x=x, y=y, out=between, **shared)
        np.testing.assert_allclose(between, x + (y.astype(np.float64) - x) * factors, rtol=1e-6, atol=1e-6)
    assert np.array_equal(scaled, x * np.float32(0.3)) and np.array_equal(own, x * y[:, :1])
    assert np.array_equal(out, x + y) and np.array_equal(biased, x + y[3]) and np.array_equal(chosen, x[rows])


def build_exp(v: InstructionSet) -> Any:
    power = exp(v, v.f32x8, v.i32x8)

    def main(counter, ith, nth, count, x, out):  # type: ignore[no-untyped-def]
        for i in range(0, count, 8):
            v.store(out + 4 * i, power(v.load(v.f32x8, x + 4 * i)))

    return main


@pytest.mark.parametrize("isa", ISAS)
def test_exp(isa: str) -> None:
    special = [0.0, -0.0, 88.7, 89.5, 1e30, np.inf, -np.inf, np.nan, -87.3, -103.0, -110.0, -1e30, 1e-40, -1e-10, 1, 5]
    x = np.concatenate([np.linspace(-104, 88.7, 100_000), normal(8000), special]).astype(np.float32)
    out = np.empty_like(x)
    run(Kernel(f"test_exp_{VERSION}", ("count", "x", "out"), build_exp), isa, count=len(x), x=x, out=out)
    with np.errstate(all="ignore"):
        want = np.exp(wide(x))
        relative = np.abs(out / want - 1)
        error = np.abs(out - want)
    assert (relative[(want > 2.0**-126) & (want < 3.4e38)] <= 2e-7).all()
    assert (error[want <= 2.0**-126] <= 2.0**-149).all()
    assert np.isposinf(out[want > 3.5e38]).all() and np.array_equal(np.isnan(out), np.isnan(x))
    assert (out[x <= -105] == 0).all() and (out[x == 0] == 1).all()


# ---- attention -----------------------------------------------------------------------------------------------------


class Cache:
    """Keys and values of a layer, written by the kernel and read by attention."""

    def __init__(self, kind: str, kv_heads: int, head_dim: int, cells: int, value_dim: int = 0) -> None:
        dims = {"head_dim": head_dim, "value_dim": value_dim or head_dim}
        self.kv_type, self.shape = find_kv_type(kind), {"kv_heads": kv_heads, "cells": cells, **dims}
        keys, values = (kv_heads * cells * self.kv_type.cell_bytes(dim) for dim in dims.values())
        self.memory = {"keys": np.zeros(keys, np.uint8), "values": np.zeros(values, np.uint8)}

    def store(self, k: Array, v: Array, cells: Array, isa: str | None = None) -> None:
        run(
            kv_store(self.kv_type),
            isa,
            2,
            tokens=number(len(k)),
            token_cells=cells,
            k=k,
            v=v,
            **self.shape,
            **self.memory,
        )

    def attend(
        self,
        q: Array,
        positions: Array,
        bases: Array,
        isa: str | None = None,
        threads: int = 1,
        *,
        window: int | None = None,
        softcap: float = 0.0,
        sinks: Array | None = None,
        first: Array | None = None,
        biases: Array | None = None,
        ring: int = NO_RING,
        n_ctx: int = 0,
        prefixes: tuple[Array, Array] | None = None,
    ) -> Array:
        """Both kernels; what lies behind their memory stays as it is."""
        (heads, head_dim), value_dim, cells = q.shape[1:], self.shape["value_dim"], n_ctx or self.shape["cells"]
        each = scratch_bytes(self.kv_type, heads, self.shape["kv_heads"], head_dim, value_dim)
        part = partials_bytes(heads, value_dim, cells)
        scratch, partials = (np.full(size + 64, 0x5A, np.uint8) for size in (each * threads, part))
        out = np.full((len(q) + 1, heads, value_dim), 9, np.float32)
        work = {
            "tokens": number(len(q)),
            "first_keys": np.maximum(positions - (window or 1 << 40) + 1, 0) if first is None else first,
            "last_keys": positions,
            "sinks": np.full(heads, NO_SINK, np.float32) if sinks is None else sinks,
            "out": out,
            "heads": heads,
            "scratch": scratch,
            "scratch_bytes": each,
            "partials": partials,
            "chunks": chunks(cells),
        }
        where = {
            "q": self.ready(q, isa),
            "sequence_starts": bases,
            "prefix_starts": np.zeros_like(bases) if prefixes is None else prefixes[0],
            "prefix_lengths": np.zeros_like(bases) if prefixes is None else prefixes[1],
            "ring": ring,
            "scale": float(head_dim**-0.5),
            "softcap": float(softcap),
            "biases": 0 if biases is None else biases,
            "bias_starts": 0 if biases is None else positions * heads * biases.shape[-1],
            "bias_stride": 0 if biases is None else biases.shape[-1],
            **self.shape,
            **self.memory,
        }
        run(attention(self.kv_type), isa, threads, **work, **where)
        run(attention_merge, isa, threads, kv_heads=self.shape["kv_heads"], value_dim=value_dim, **work)
        assert (out[-1] == 9).all() and (scratch[-64:] == 0x5A).all() and (partials[-64:] == 0x5A).all()
        return out[:-1]

    def ready(self, q: Array, isa: str | None) -> Array:
        """Queries as the kind of cache wants them."""
        if not self.kv_type.q8_queries:
            return q
        records, k = np.zeros((len(q), q8_bytes(q[0].size)), np.uint8), q[0].size
        run(quantize_q8, isa, tokens=number(len(q)), x=q, out=records, k=k)
        return records


def sequence(tokens: int, heads: int, kv_heads: int, head_dim: int, seed: int = 0) -> tuple[Array, Array, Array]:
    q, k, v = (normal(tokens, n, head_dim, seed=seed + i) for i, n in enumerate((heads, kv_heads, kv_heads)))
    return q, k, v


BOUNDS = {"f16": 1e-6, "f32": 1e-10}
SHAPES = [(4, 4, 64), (8, 1, 64), (6, 2, 80), (9, 3, 96), (4, 2, 128), (2, 2, 8), (32, 8, 20)]
LENGTHS = (1, 2, 15, 16, 17, 127, 128, 129, 300)


def whole(kind: str, heads: int, kv_heads: int, head_dim: int, length: int, isa: str | None = None) -> float:
    """Error of the attention of a whole sequence, written and read in one batch."""
    q, k, v = sequence(length, heads, kv_heads, head_dim, seed=length)
    cache, at = Cache(kind, kv_heads, head_dim, -(-length // ALIGN) * ALIGN), np.arange(length)
    cache.store(k, v, at, isa)
    return nmse(cache.attend(q, at, np.zeros_like(at), isa, 2), attention_reference(wide(q), wide(k), wide(v)))


@pytest.mark.parametrize("kind", BOUNDS)
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), SHAPES)
def test_attention_of_whole_sequences(heads: int, kv_heads: int, head_dim: int, kind: str) -> None:
    for length in LENGTHS:
        assert whole(kind, heads, kv_heads, head_dim, length) <= BOUNDS[kind], length


@pytest.mark.parametrize("isa", OTHERS)
def test_attention_in_other_instruction_sets(isa: str) -> None:
    for heads, kv_heads, head_dim, length in ((6, 2, 80, 129), (4, 4, 64, 17)):
        assert whole("f16", heads, kv_heads, head_dim, length, isa) <= BOUNDS["f16"]


@pytest.mark.parametrize("kind", BOUNDS)
def test_cached_attention_equals_that_of_the_whole(kind: str) -> None:
    """The same sequence in pieces: each token reads what earlier batches wrote."""
    q, k, v = sequence(300, 6, 2, 80)
    cache, want, start = Cache(kind, 2, 80, 320), attention_reference(wide(q), wide(k), wide(v)), 0
    for size in (1, 1, 13, 2, 111, 1, 65, 106):
        part, at = slice(start, start + size), np.arange(start, start + size)
        cache.store(k[part], v[part], at)
        assert nmse(cache.attend(q[part], at, np.zeros_like(at)), want[part]) <= BOUNDS[kind]
        start += size
    assert start == 300


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("lengths", [(5,), (3, 4), (1, 33, 300, 2, 64, 7)])
def test_attention_without_a_mask_over_packed_texts(lengths: tuple[int, ...], isa: str) -> None:
    """A token attends to all tokens of its text, also where the batch is small and chunks are split."""
    texts = [sequence(n, 6, 2, 48, seed=n) for n in lengths]
    first = np.cumsum([0, *(padded(n) for n in lengths)])
    cache = Cache("f32", 2, 48, int(first[-1]))
    q, k, v = (np.concatenate(parts) for parts in zip(*texts, strict=True))
    bases, last = np.repeat(first[:-1], lengths), np.repeat(np.array(lengths) - 1, lengths)
    positions = np.concatenate([np.arange(n) for n in lengths])
    cache.store(k, v, bases + positions, isa)
    for window in (None, 40):
        want = [attention_reference(wide(q), wide(k), wide(v), window, causal=False) for q, k, v in texts]
        keys = KeyRange(batch := Batch(len(q), 1), window, causal=False)
        batch.last_positions[:] = last
        keys.fill(positions)
        got = cache.attend(q, keys.last, bases, isa, 2, first=keys.first)
        assert nmse(got, np.concatenate(want)) <= 1e-10


def two_sequences() -> tuple[Cache, Array, Array, Array, Array]:
    """A cache with two sequences of 40 and 150, and a batch that ends both, their tokens one after the other."""
    cache, q, positions, bases, want = Cache("f32", 2, 64, 384), [], [], [], []
    for base, length, tokens in ((0, 150, 70), (192, 40, 3)):
        queries, k, v = sequence(length, 8, 2, 64, seed=length)
        cache.store(k, v, base + np.arange(length))
        q.append(queries[-tokens:])
        positions.append(np.arange(length - tokens, length))
        bases.append(np.full(tokens, base))
        want.append(attention_reference(wide(queries), wide(k), wide(v))[-tokens:])
    return cache, np.concatenate(q), np.concatenate(positions), np.concatenate(bases), np.concatenate(want)


RULES: dict[str, dict[str, Any]] = {
    "window": {"window": 100},
    "window of one": {"window": 1},
    "window of all": {"window": 300},
    "softcap": {"softcap": 1.5},
    "sinks": {"sinks": np.array([-3.0, 0.0, 2.0, 9.0, -60.0, 70.0], np.float32)},
    "together": {"window": 129, "softcap": 30.0, "sinks": np.arange(6, dtype=np.float32)},
}


SLOW = [pytest.param("together", isa, marks=pytest.mark.slow) for isa in REST]


@pytest.mark.parametrize(("rule", "isa"), [(rule, BEST) for rule in RULES] + SLOW)
def test_windows_caps_and_sinks(rule: str, isa: str) -> None:
    """In one batch, and token by token at the end: the same bits."""
    rules, at, bases = RULES[rule], np.arange(300), np.zeros(300, np.int64)
    q, k, v = sequence(300, 6, 2, 80)
    q *= np.float32(3)
    cache = Cache("f32", 2, 80, 320)
    cache.store(k, v, at, isa)
    got = cache.attend(q, at, bases, isa, 2, **rules)
    meant = {name: wide(x) if isinstance(x, np.ndarray) else x for name, x in rules.items()}
    assert nmse(got, attention_reference(wide(q), wide(k), wide(v), **meant)) <= 1e-10
    for t in range(295, 300):
        one = slice(t, t + 1)
        assert np.array_equal(cache.attend(q[one], at[one], bases[one], isa, **rules), got[one])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("heads", [6, 8])
def test_score_biases(heads: int, isa: str) -> None:
    """Of each query, head and key; each token's result is the same in every batch."""
    length = CHUNK + 70
    q, k, v = sequence(length, heads, 2, 32)
    cache, at, biases = Cache("f32", 2, 32, padded(length)), np.arange(length), normal(length, heads, padded(length))
    cache.store(k, v, at, isa)
    got = cache.attend(q, at, np.zeros_like(at), isa, 2, biases=biases)
    meant = wide(biases[..., :length].swapaxes(0, 1))
    assert nmse(got, attention_reference(wide(q), wide(k), wide(v), biases=meant)) <= 1e-10
    last = slice(length - 3, length)
    assert np.array_equal(cache.attend(q[last], at[last], np.zeros(3, np.int64), isa, biases=biases), got[last])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("head_dim", [5, 24])
def test_scores_by_distance_and_by_parts(head_dim: int, isa: str) -> None:
    """Of two texts in one batch, of the query and then of the key; behind the last key of a text they are zero."""
    lengths, heads, stride = (3, 36), 2, 64
    positions = np.concatenate([np.arange(n) for n in lengths])
    tokens, last = len(positions), np.repeat(np.array(lengths) - 1, lengths)
    x, y, vectors = normal(tokens, heads, head_dim), normal(tokens, heads, head_dim, seed=1), normal(heads, 7, head_dim)
    rows, parts = np.arange(128) % 7, np.arange(tokens) % 3
    of_parts, out = normal(2, heads, head_dim, seed=2), np.full((tokens, heads, stride), np.nan, np.float32)
    where: dict[str, Any] = {"tokens": number(tokens), "positions": positions, "last_positions": last, "out": out}
    where |= {"heads": heads, "head_dim": head_dim, "stride": stride, "scale": 0.5}
    by_distance = {"vectors": vectors, "rows": rows, "origin": 64, "count": 7}
    run(relative_scores, isa, 2, x=x, by_key=0, adds=0, **by_distance, **where)
    run(relative_scores, isa, 2, x=y, by_key=1, adds=1, **by_distance, **where)
    run(part_scores, isa, 2, x=x, parts=parts, vectors=of_parts, **where)
    for first, n in zip((0, 3), lengths, strict=True):
        text, apart = slice(first, first + n), np.arange(n)[None, :] - np.arange(n)[:, None]
        want = relative_scores_reference(wide(x[text]), wide(vectors), rows[apart + 64], False)
        want += relative_scores_reference(wide(y[text]), wide(vectors), rows[apart + 64], True)
        other = (parts[text][:, None] != parts[text][None, :]).astype(np.int64)
        want += relative_scores_reference(wide(x[text]), wide(of_parts.swapaxes(0, 1)), other, False)
        assert nmse(out[text, :, :n].swapaxes(0, 1), want / 2) <= 1e-10
        assert not out[text, :, n : padded(n)].any()


@pytest.mark.parametrize("heads", [6, 8])
def test_slopes_are_those_of_the_paper(heads: int) -> None:
    exponents = np.log2(alibi_slopes(heads, 8.0))
    assert np.allclose(exponents, [-1, -2, -3, -4, -5, -6, -7, -8] if heads == 8 else [-2, -4, -6, -8, -1, -3])


def test_keys_before_the_window_are_not_read() -> None:
    q, k, v = sequence(1000, 4, 2, 64)
    k[:512], v[:512] = np.nan, np.nan
    cache, at, late = Cache("f16", 2, 64, 1024), np.arange(1000), slice(900, 1000)
    cache.store(k, v, at)
    got = cache.attend(q[late], at[late], np.zeros(100, np.int64), window=380)
    assert np.isfinite(got).all()


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_cells_used_in_turn_give_the_same_bits(kind: str) -> None:
    """As cells for all positions, for every batch and whatever lies in cells of positions out of the window."""
    length, window, ring, base = 5 * CHUNK + 40, 200, 2 * CHUNK, 2 * CHUNK
    q, k, v = sequence(length, 4, 2, 64)
    whole, turns = Cache(kind, 2, 64, padded(length)), Cache(kind, 2, 64, base + ring)
    turns.store(k[:ring], v[:ring], base + np.arange(ring))
    start = 0
    for size in (1, 300, 3, 8, 9, 290, *[1] * 5, 280, 8, 200, 216):
        at, part = np.arange(start, start + size), slice(start, start + size)
        whole.store(k[part], v[part], at)
        turns.store(k[part], v[part], base + at % ring)
        want = whole.attend(q[part], at, np.zeros_like(at), None, 2, window=window)
        place = {"ring": ring, "n_ctx": padded(length)}
        assert np.array_equal(turns.attend(q[part], at, np.full_like(at, base), None, 2, window=window, **place), want)
        start += size
    assert start == length


@pytest.mark.parametrize(("head_dim", "value_dim"), [(48, 32), (20, 40)])
def test_values_of_another_length_than_keys(head_dim: int, value_dim: int) -> None:
    q, k, _ = sequence(150, 6, 2, head_dim)
    v, at = normal(150, 2, value_dim, seed=9), np.arange(150)
    cache = Cache("f32", 2, head_dim, 160, value_dim)
    cache.store(k, v, at)
    got = cache.attend(q, at, np.zeros_like(at), None, 2)
    assert nmse(got, attention_reference(wide(q), wide(k), wide(v))) <= 1e-10


def in_bytes(x: Array) -> NDArray[np.float64]:
    """What a cache in bytes keeps of x (..., 32 n): the greatest magnitude of 32 becomes 127."""
    groups = x.reshape(*x.shape[:-1], -1, 32)
    peak = np.abs(groups).max(-1, keepdims=True)
    inverse = np.divide(np.float32(127), peak, out=np.zeros_like(peak), where=peak > 0)
    kept = wide(np.rint(groups * inverse)) * wide(np.float32(1 / 127) * peak)
    return kept.reshape(x.shape)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "value_dim"), [(8, 2, 64, 64), (3, 3, 96, 32), (6, 1, 128, 128)]
)
def test_a_cache_in_bytes(heads: int, kv_heads: int, head_dim: int, value_dim: int, isa: str) -> None:
    q, k, _ = sequence(300, heads, kv_heads, head_dim)
    v, at, bases = normal(300, kv_heads, value_dim, seed=7), np.arange(300), np.zeros(300, np.int64)
    k[5], v[9, 0, :32], q[20, 0] = 0, 1e-30, 0
    cache = Cache("q8_0", kv_heads, head_dim, 320, value_dim)
    cache.store(k, v, at, isa)
    got = cache.attend(q, at, bases, isa, 2)
    seen, scales = q8_reference(q.reshape(300, -1))
    queries = (wide(seen).reshape(300, -1, 32) * wide(scales)[..., None]).reshape(q.shape)
    assert nmse(got, attention_reference(queries, in_bytes(k), in_bytes(v))) <= 1e-10
    assert nmse(got, attention_reference(wide(q), wide(k), wide(v))) <= 1e-4
    for t in (0, 31, 32, 255, 256, 299):
        one = slice(t, t + 1)
        assert np.array_equal(cache.attend(q[one], at[one], bases[one], isa), got[one])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("operand", ["k", "v"])
@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_the_cache_keeps_what_is_not_finite_visible(kind: str, operand: str, bad: float) -> None:
    parts = dict(zip("qkv", sequence(20, 2, 1, 32), strict=True))
    parts["q"][..., 3] = np.abs(parts["q"][..., 3])  # a score of minus infinity would rightly have no weight
    parts[operand][7, 0, 3] = bad
    cache, at = Cache(kind, 1, 32, 32), np.arange(20)
    cache.store(parts["k"], parts["v"], at)
    seen = cache.attend(parts["q"], at, np.zeros_like(at))
    assert not np.isfinite(seen[7:]).all(axis=(1, 2)).any()


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
@pytest.mark.parametrize("tokens", [1, 2, SPLIT_TOKENS, SPLIT_TOKENS + 1, 70])
def test_a_token_means_the_same_in_every_batch_and_for_all_threads(kind: str, tokens: int) -> None:
    """Tokens of a long sequence, over three pieces: alone, a few at a time, and in a long batch."""
    length = 2 * CHUNK + 90
    q, k, v = sequence(length, 8, 2, 64)
    cache, at, bases = Cache(kind, 2, 64, padded(length)), np.arange(length), np.zeros(length, np.int64)
    cache.store(k, v, at)
    want = cache.attend(q, at, bases)
    for start in (2 * CHUNK - 1, length - tokens):
        some = slice(start, start + tokens)
        for threads in (1, 2, 8):
            assert np.array_equal(cache.attend(q[some], at[some], bases[some], None, threads), want[some])


def test_sequences_in_one_batch_do_not_see_each_other() -> None:
    cache, q, positions, bases, want = two_sequences()
    assert nmse(cache.attend(q, positions, bases), want) <= 1e-10
    turn = np.array([70, 0, 71, 1])  # tokens of both in turn
    mixed = cache.attend(*(np.ascontiguousarray(a[turn]) for a in (q, positions, bases)))
    assert nmse(mixed, want[turn]) <= 1e-10


def test_threads_change_no_bit_of_attention() -> None:
    cache, q, positions, bases, _ = two_sequences()
    alone = cache.attend(q, positions, bases)
    for threads in (2, 3, 4):
        assert np.array_equal(cache.attend(q, positions, bases, threads=threads), alone)


@pytest.mark.parametrize("changed", [1, 16, 100, 127, 128, 199])
def test_later_tokens_change_no_bit_of_earlier_ones(changed: int) -> None:
    q, k, v = sequence(200, 4, 2, 64)
    at, bases, outs = np.arange(200), np.zeros(200, np.int64), []
    for stir in (0.0, 5.0):
        k[changed:] += np.float32(stir)
        v[changed:] *= np.float32(1 + stir)
        cache = Cache("f16", 2, 64, 224)
        cache.store(k, v, at)
        outs.append(cache.attend(q, at, bases))
    assert np.array_equal(outs[0][:changed], outs[1][:changed])
    assert not np.array_equal(outs[0][changed], outs[1][changed])


def test_scores_of_any_size_and_stale_cells_do_no_harm() -> None:
    q, k, v = sequence(40, 4, 2, 64)
    q *= np.float32(300)  # one key takes all
    cache, at = Cache("f32", 2, 64, 64), np.arange(40)
    cache.store(np.full((64, 2, 64), 1e30, np.float32), np.full((64, 2, 64), -1e30, np.float32), np.arange(64))
    cache.store(k, v, at)
    assert nmse(cache.attend(q, at, np.zeros_like(at)), attention_reference(wide(q), wide(k), wide(v))) <= 1e-10


@pytest.mark.parametrize("operand", ["q", "k", "v"])
def test_attention_keeps_nan_visible(operand: str) -> None:
    parts = dict(zip("qkv", sequence(20, 2, 1, 16), strict=True))
    parts[operand][7, 0, 3] = np.nan
    cache, at = Cache("f16", 1, 16, 32), np.arange(20)
    cache.store(parts["k"], parts["v"], at)
    bad = np.isnan(cache.attend(parts["q"], at, np.zeros_like(at))).any(axis=(1, 2))
    assert bad[7] and (operand == "q" or bad[7:].all())
    assert operand == "v" or not bad[:7].any()  # a value of weight 0 still counts, and 0 times NaN is NaN
