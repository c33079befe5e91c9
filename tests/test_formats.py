"""Every format of the registry against GGUF's reference: a new file in `quant/formats/` is tested by existing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmlocal.quant.format import BY_ID, BY_NAME, Format
from llmlocal.quant.formats import load_all

load_all()
FORMATS = [pytest.param(BY_NAME[name], id=name) for name in sorted(BY_NAME)]
CODEBOOKS = ("IQ1_M", "IQ1_S", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ3_S", "IQ3_XXS")  # slow in NumPy
QUANTIZERS = [
    pytest.param(BY_NAME[name], id=name, marks=pytest.mark.slow if name in CODEBOOKS else ())
    for name in sorted(BY_NAME)
    if BY_NAME[name].offers("quantize_blocks")
]
# Relative RMSE of ggml's own quantizer (`ggml_quantize_chunk`) on `weights(256, 4096)`, without an importance matrix;
# with ones where ggml takes nothing else.
LARGEST_ERROR = {
    "F32": 0.0, "F16": 0.0002075, "BF16": 0.0016590, "Q8_0": 0.0053539, "Q6_K": 0.0177480, "Q5_K": 0.0361109,
    "Q5_1": 0.0378380, "Q5_0": 0.0427216, "Q4_K": 0.0712925, "IQ4_NL": 0.0761015, "IQ4_XS": 0.0766950,
    "Q4_1": 0.0781653, "Q4_0": 0.0859589, "Q3_K": 0.1509249, "Q2_K": 0.2966946, "MXFP4": 0.1140584,
    "TQ1_0": 0.8073702, "TQ2_0": 0.8073702, "Q2_0": 0.7179872, "IQ3_S": 0.1661613, "IQ3_XXS": 0.2131625,
    "IQ2_S": 0.2647454, "IQ2_XS": 0.2995917, "IQ2_XXS": 0.3438943, "IQ1_M": 0.4514135, "IQ1_S": 0.4856090,
}  # fmt: skip


def signs_times_scale(data: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Q1_0: every bit of 16 bytes as d or -d, d being the half before them."""
    blocks = data.reshape(-1, 18)
    d, bits = blocks[:, :2].copy().view(np.float16).astype(np.float32), np.unpackbits(blocks[:, 2:, None], axis=2)
    return (d[..., None] * np.where(bits[:, :, ::-1], np.float32(1), np.float32(-1))).reshape(len(data), -1)


def two_bits_times_scale(data: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Q2_0: every two bits of 16 bytes, less 1, times the half before them."""
    blocks = data.reshape(-1, 18)
    d, bits = blocks[:, :2].copy().view(np.float16).astype(np.float32), np.unpackbits(blocks[:, 2:], axis=1)
    pairs = bits.reshape(-1, 16, 4, 2)[:, :, ::-1]
    q = (2 * pairs[..., 0] + pairs[..., 1]).reshape(-1, 64).astype(np.float32)
    return (d * (q - 1)).reshape(len(data), -1)


def plain(kind: str) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    return lambda data: data.view(kind).astype(np.float32)


# What `gguf.quants` knows the size of, but not the meaning.
BEYOND_GGUF = {"Q1_0": signs_times_scale, "Q2_0": two_bits_times_scale, "F64": plain("<f8")}
BEYOND_GGUF |= {f"I{8 * n}": plain(f"<i{n}") for n in (1, 2, 4, 8)}


def relative_rmse(got: NDArray[np.float32], want: NDArray[np.float32]) -> float:
    error = got.astype(np.float64) - want
    return float(np.sqrt((error**2).sum() / (want.astype(np.float64) ** 2).sum()))


def reference_type(f: type[Format]) -> gguf.GGMLQuantizationType:
    return gguf.GGMLQuantizationType[f.name]


def reference_values(f: type[Format], data: NDArray[np.uint8]) -> NDArray[np.float32]:
    with np.errstate(all="ignore"):
        if f.name in BEYOND_GGUF:
            return BEYOND_GGUF[f.name](data)
        return gguf.quants.dequantize(data, reference_type(f))


def assert_same_bits(got: NDArray[np.float32], want: NDArray[np.float32]) -> None:
    """Equal in every bit, but any NaN will do for a NaN: which payload survives is the processor's choice."""
    assert got.dtype == want.dtype == np.float32 and got.shape == want.shape
    same = (got.view(np.uint32) == want.view(np.uint32)) | (np.isnan(got) & np.isnan(want))
    assert same.all()


def random_rows(f: type[Format], rows: int, k: int) -> NDArray[np.uint8]:
    return np.random.default_rng(k).integers(0, 256, (rows, f.row_bytes(k)), np.uint8)


def weights(rows: int, k: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.02, (rows, k)).astype(np.float32)


@pytest.mark.parametrize("f", FORMATS)
def test_id_and_sizes_are_those_of_gguf(f: type[Format]) -> None:
    if f.name == "Q2_0":
        assert (f.id, f.block, f.nbytes) == (42, 64, 18)  # ggml.h; the package does not have it yet
    else:
        assert f.id == reference_type(f).value
        assert (f.block, f.nbytes) == gguf.GGML_QUANT_SIZES[reference_type(f)]
    assert BY_ID[f.id] is BY_NAME[f.name] is f


@pytest.mark.parametrize("f", FORMATS)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 5), blocks=st.integers(1, 9))
@settings(max_examples=30)  # of each format; a block of random bytes has every field at random
def test_dequantize_of_random_bytes_is_bit_equal(f: type[Format], seed: int, rows: int, blocks: int) -> None:
    data = np.random.default_rng(seed).integers(0, 256, (rows, blocks * f.nbytes), np.uint8)
    values = f.dequantize(data)
    assert values.shape == (rows, blocks * f.block)
    if rows:  # the reference cannot do without
        assert_same_bits(values, reference_values(f, data))


@pytest.mark.parametrize("f", FORMATS)
def test_dequantize_with_scales_of_all_kinds_is_bit_equal(f: type[Format]) -> None:
    """Half floats of all sizes, infinite and NaN too, at every even offset up to 4 and at the block's end."""
    edges = [np.arange(at - 16, at + 16) for at in (0x400, 0x7C00, 0x8400, 0xFC00)]
    every = np.concatenate([np.arange(0, 1 << 16, 31), *edges]).astype(np.uint16).view(np.uint8).reshape(-1, 2)
    for at in {0, min(2, f.nbytes - 2), f.nbytes - 2} & set(range(f.nbytes - 1)):
        data = np.random.default_rng(at).integers(0, 256, (len(every), f.nbytes), np.uint8)
        data[:, at : at + 2] = every
        assert_same_bits(f.dequantize(data), reference_values(f, data))


@pytest.mark.parametrize("f", QUANTIZERS)
def test_quantize_is_byte_equal_where_the_reference_can(f: type[Format]) -> None:
    values = np.concatenate([weights(9, 4096) * np.float32(10.0**e) for e in (-30, -6, -3, 0, 3, 30)])
    values[::5, ::3] = 0
    values[1::5] = np.round(values[1::5] * 100) / 100  # ties
    with np.errstate(all="ignore"):
        try:
            want = gguf.quants.quantize(values, reference_type(f)).view(np.uint8)
        except (NotImplementedError, KeyError):
            pytest.skip("the reference cannot quantize this format")
    assert np.array_equal(f.quantize(values), want)


def test_q2_0_is_ggmls() -> None:
    """Bytes of `ggml_quantize_chunk` and values of `dequantize_row_q2_0`, llama-cpp-python 0.3.36."""
    values = np.random.default_rng(1).normal(0, 1, (3, 64)).astype(np.float32)
    values[1] = np.sign(values[1]) * np.float32(0.5)  # ties
    values[2, ::3] = 0
    assert BY_NAME["Q2_0"].quantize(values).tobytes() == bytes.fromhex(
        "6c41555555555555506559515555555555550038a228a8000a0aaa2088880a82a8888282be4155555559555555555565554555955555"
    )
    data = np.frombuffer(bytes.fromhex("c1586bd64803f9426471fb1b63ea694c1eb1"), np.uint8)
    expected = [304.25, 152.125, 152.125, 0.0, 152.125, 0.0, 0.0, 304.25, -152.125]
    assert BY_NAME["Q2_0"].dequantize(data[None])[0, :9].tolist() == expected


@pytest.mark.parametrize("f", QUANTIZERS)
def test_error_is_at_most_that_of_ggml(f: type[Format]) -> None:
    values = weights(256, 4096)
    bound = LARGEST_ERROR[f.name] * 1.0005  # the table is rounded
    assert relative_rmse(f.dequantize(f.quantize(values)), values) <= bound


@pytest.mark.parametrize("f", QUANTIZERS)
def test_sign_does_not_matter_to_the_error(f: type[Format]) -> None:
    values = weights(64, 1024)
    plus, minus = (relative_rmse(f.dequantize(f.quantize(v)), v) for v in (values, -values))
    assert plus == pytest.approx(minus, rel=0.01)


@pytest.mark.parametrize("f", QUANTIZERS)
def test_quantizing_again_changes_little(f: type[Format]) -> None:
    once = f.dequantize(f.quantize(weights(16, 1024)))
    assert relative_rmse(f.dequantize(f.quantize(once)), once) <= LARGEST_ERROR[f.name]


@pytest.mark.parametrize("f", QUANTIZERS)
def test_quantized_bytes_do_not_depend_on_shape_strides_or_the_neighbours(f: type[Format]) -> None:
    values = weights(300, 512)
    data = f.quantize(values)
    assert np.array_equal(f.quantize(values.reshape(3, 100, 512)), data.reshape(3, 100, -1))
    assert np.array_equal(f.quantize(values[::7]), data[::7])
    assert np.array_equal(f.quantize(values[299]), data[299])


@pytest.mark.parametrize("f", FORMATS)
def test_values_do_not_depend_on_strides_place_or_the_neighbours(f: type[Format]) -> None:
    data = random_rows(f, 300, 512)
    assert_same_bits(f.dequantize(data[::7]), f.dequantize(data)[::7])
    moved = np.concatenate([np.zeros(1, np.uint8), data.ravel()])[1:].reshape(data.shape)
    assert_same_bits(f.dequantize(moved), f.dequantize(data))


@pytest.mark.parametrize("f", FORMATS)
def test_dequantize_returns_memory_of_its_own(f: type[Format]) -> None:
    data = random_rows(f, 2, 256)
    assert not np.shares_memory(f.dequantize(data), data)


@pytest.mark.parametrize("f", QUANTIZERS)
def test_unusual_rows(f: type[Format]) -> None:
    """Zeros and a lone value come back, constants nearly; what is too small vanishes; no warning escapes."""
    one_hot = np.zeros((3, 512), np.float32)
    one_hot[[0, 1, 2], [0, 300, 511]] = 1, -2, 0.5
    assert not f.dequantize(f.quantize(np.zeros((3, 512), np.float32))).any()
    if f.name not in ("Q2_K", "Q3_K", "IQ4_NL", "IQ4_XS", *CODEBOOKS):  # all but the first two have no level zero
        assert f.dequantize(f.quantize(one_hot)) == pytest.approx(one_hot, rel=0.08, abs=1e-3)
    constant = np.full((2, 512), -0.7, np.float32)
    assert relative_rmse(f.dequantize(f.quantize(constant)), constant) <= max(LARGEST_ERROR[f.name], 1e-3)
    denormal = np.full((2, 512), 1e-40, np.float32)
    denormal[:, ::2] *= -3
    assert np.abs(f.dequantize(f.quantize(denormal))).max() <= 1e-36


@pytest.mark.parametrize("f", QUANTIZERS)
@pytest.mark.parametrize("magnitude", [1e38, 3.4e38])
def test_huge_rows_come_back_or_are_visibly_infinite(f: type[Format], magnitude: float) -> None:
    values = np.full((2, 512), magnitude, np.float32)
    values[:, 1::2] *= -1
    back = f.dequantize(f.quantize(values))
    moderate = np.ldexp(values, -126)  # a coarse format may miss these too, but by as much
    error = max(0.01, relative_rmse(f.dequantize(f.quantize(moderate)), moderate))
    assert back == pytest.approx(values, rel=error) or not np.isfinite(back).all()


@pytest.mark.parametrize("f", QUANTIZERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(f: type[Format], bad: float) -> None:
    values = weights(40, 4096)
    values[39, 4095] = bad
    with pytest.raises(ValueError, match=f.name):
        f.quantize(values)


@pytest.mark.parametrize("f", [p for p in FORMATS if p.values[0].block > 1])
def test_parts_of_blocks_are_refused(f: type[Format]) -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        f.row_bytes(f.block + 1)
    with pytest.raises(ValueError, match="not a multiple"):
        f.dequantize(np.zeros((1, f.nbytes + 1), np.uint8))


@pytest.mark.parametrize("f", [p for p in QUANTIZERS if p.values[0].block > 1])
def test_parts_of_blocks_are_not_quantized(f: type[Format]) -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        f.quantize(weights(1, f.block + 1))


def test_listing_the_formats_imports_no_numpy() -> None:
    code = (
        "import sys; from llmlocal.quant.format import BY_NAME; from llmlocal.quant.formats import load_all;"
        "load_all(); assert 'Q4_0' in BY_NAME;"
        "sys.exit(' '.join({'numpy', 'numba', 'llvmlite'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")
