"""The float kernels on elements and rows against their references in float64."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from instruction_sets import ISAS
from naive import nmse, number, run, turn_neighbours
from random_arrays import normal, wide

from llmlocal.layers.rope import KEPT, NEAR, Rope
from llmlocal.layers.rope_scaling import RopeParameters
from llmlocal.ops.activations import (
    geglu,
    geglu_reference,
    gelu,
    gelu_reference,
    relu,
    relu_reference,
    relu_squared,
    relu_squared_reference,
    sigmoid_gate,
    sigmoid_gate_reference,
    softplus,
    softplus_reference,
    swiglu,
    swiglu_clamped,
    swiglu_clamped_reference,
    swiglu_reference,
    tanh,
    tanh_reference,
)
from llmlocal.ops.bandwidth import CHUNK, read_sum
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
from llmlocal.ops.gelu_erf import geglu_erf, geglu_erf_reference, gelu_erf, gelu_erf_reference
from llmlocal.ops.layer_norm import layer_norm, layer_norm_reference
from llmlocal.ops.mean_rows import mean_rows, mean_rows_reference
from llmlocal.ops.rms_norm import grouped_rms_norm, rms_norm, rms_norm_reference
from llmlocal.ops.rope import rope_interleaved, rope_neox, rope_reference, rope_table
from llmlocal.ops.xielu import xielu, xielu_reference
from llmlocal.quant.jit.kernel import Kernel
from llmlocal.quant.simd.instruction_set import InstructionSet

VERSION = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]


def test_kept_rows_of_a_rope_table_are_those_of_a_whole_batch() -> None:
    """Few tokens look their rows up, however far apart they are, and as many as fill what is kept."""
    parameters = RopeParameters(10000.0 ** (-np.arange(8) / 8), 1.2)
    rope = Rope(parameters, True, np.zeros((300, 2, 16), np.float32))
    for positions in ([5], [6, 7], [63, 64], [0, 131_071, 4095], *([n * NEAR, 5] for n in range(2 * KEPT)), range(300)):
        rope.fill(at := np.array(positions))
        assert np.array_equal(rope.table[: len(at)], rope_table(at, parameters.frequencies, 1.2, True))
    assert len(rope._kept) == KEPT


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


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("width", [7, 100])
def test_grouped_rms_norm(width: int, isa: str) -> None:
    """Each of three groups with its own weight."""
    x, weight = normal(6, 3, width), normal(3, width, seed=1)
    out = np.empty_like(x)
    run(grouped_rms_norm, isa, 2, tokens=number(6), x=x, weight=weight, out=out, width=width, per_token=3, eps=1e-5)
    assert nmse(out, rms_norm_reference(wide(x), wide(weight), float(np.float32(1e-5)))) <= 1e-12


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
GATES |= {"geglu_erf": geglu_erf_reference, "sigmoid_gate": sigmoid_gate_reference}
UNARY = {
    "gelu": gelu_reference,
    "gelu_erf": gelu_erf_reference,
    "tanh": tanh_reference,
    "relu": relu_reference,
    "relu_squared": relu_squared_reference,
    "softplus": softplus_reference,
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "gated", [swiglu, swiglu_clamped, geglu, geglu_erf, sigmoid_gate], ids=lambda kernel: kernel.name
)
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
@pytest.mark.parametrize("kernel", [gelu, gelu_erf, relu, relu_squared, softplus], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("width", [1, 7, 100])
def test_activations(width: int, kernel: Kernel, isa: str) -> None:
    x = normal(20, width) * np.float32(10.0) ** np.arange(-15, 5, dtype=np.float32)[:, None]
    out = np.empty_like(x)
    run(kernel, isa, 2, tokens=number(20), x=x, out=out, width=width)
    assert all(nmse(a, b) <= 1e-10 for a, b in zip(out, UNARY[kernel.name](wide(x)), strict=True))


@pytest.mark.parametrize("isa", ISAS)
def test_gelu_erf_of_single_numbers(isa: str) -> None:
    x = np.concatenate([np.linspace(-9, 9, 70001), [-1e4, 1e4, np.inf]], dtype=np.float32)[None]
    out = np.empty_like(x)
    run(gelu_erf, isa, tokens=number(1), x=x, out=out, width=x.size)
    near, want = out[:, :-3], gelu_erf_reference(wide(x[:, :-3]))
    assert (np.abs(near - want) <= 1e-5 * np.abs(want)).all() and np.array_equal(out[0, -3:], [0, 1e4, np.inf])


@pytest.mark.parametrize("width", [1, 7, 100])
def test_products_of_elements(width: int) -> None:
    x, y = normal(20, width), normal(20, width, seed=1)
    want = x * y
    run(multiply, None, 2, tokens=number(20), x=x, y=y, out=x, width=width)
    assert np.array_equal(x, want)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("tokens", [0, 1, 15, 101, 500])
def test_threads_that_draw_several_tokens_leave_none_out(tokens: int, threads: int) -> None:
    x, y, out = normal(501, 5), normal(501, 5, seed=1), np.full((501, 5), 9, np.float32)
    run(add, None, threads, tokens=number(tokens), x=x, y=y, out=out, width=5)
    assert np.array_equal(out[:tokens], (x + y)[:tokens]) and (out[tokens:] == 9).all()


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
def test_what_measures_memory_reads_all_of_it(isa: str) -> None:
    data, sums = np.arange(3 * CHUNK // 4, dtype=np.int32) % 251, np.zeros((2, 16), np.int32)
    run(read_sum, isa, 2, data=data, size=data.nbytes, sums=sums)
    assert np.array_equal(sums[:, :8].sum(0), data.reshape(-1, 8).sum(0)) and not sums[:, 8:].any()


def test_every_kernel_is_named_by_a_test() -> None:
    """By those that compare it with its reference, above all, or by doctor's."""
    kernels = re.compile(r"^ *@kernel\(.*\n(?: *@.*\n)* *def (\w+)", re.MULTILINE)
    root = Path(__file__).parents[1]
    texts = [path.read_text("utf-8") for room in ("quant", "llmlocal/ops") for path in (root / room).rglob("*.py")]
    tests = [*(root / "tests").rglob("*.py"), *(root / "llmlocal" / "doctor").glob("*.py")]
    named = set(re.findall(r"\w+", "".join(path.read_text("utf-8") for path in tests)))
    names = {name for text in texts for name in kernels.findall(text)}
    assert len(names) > 40 and not names - named


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
