"""Streams of rows give what NumPy gives on whole arrays, whichever rows are asked for, and hold no tensor whole."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hf_folders import CASES, as_type, drawn, safetensors_bytes, weights, write_folder, write_weights
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmlocal.errors import BadFileError
from llmlocal.hf import streams
from llmlocal.hf.safetensors import Safetensors
from llmlocal.hf.streams import Stream
from llmlocal.quantize.plan import plan_conversion
from llmlocal.quantize.source import open_source
from llmlocal.quantize.write import WriteOptions, write_plan

Floats = NDArray[np.float32]
sizes = st.integers(1, 7)


def numbers(*shape: int) -> Floats:
    return np.arange(1, 1 + int(np.prod(shape)), dtype=np.float32).reshape(shape)


def same(x: Stream, whole: NDArray[np.generic], data: st.DataObject) -> None:
    """Shape, all rows, and some rows."""
    assert x.shape == whole.shape
    rows = whole.reshape(-1, whole.shape[-1])
    first = data.draw(st.integers(0, x.rows))
    end = data.draw(st.integers(first, x.rows))
    np.testing.assert_array_equal(x.read(0, x.rows), rows)
    np.testing.assert_array_equal(x.read(first, end).reshape(-1, x.k), rows[first:end])


@given(n=sizes, rows=sizes, k=sizes, data=st.data())
def test_transposed(n: int, rows: int, k: int, data: st.DataObject) -> None:
    whole = numbers(n, rows, k)
    same(streams.transposed(streams.constant(whole)), whole.swapaxes(1, 2), data)
    same(streams.transposed(streams.constant(whole[0])), whole[0].T, data)


@given(n=sizes, rows=sizes, k=sizes, data=st.data())
def test_parts(n: int, rows: int, k: int, data: st.DataObject) -> None:
    """Of stacked matrices, of one, and of a vector; and joined again they are the whole."""
    whole, cut = numbers(n, rows, k), data.draw(st.integers(0, rows))
    for x in (whole, whole[0]):
        low, high = streams.split(streams.constant(x), [cut, rows - cut])
        if cut:
            same(low, x[..., :cut, :], data)
        if rows - cut:
            same(high, x[..., cut:, :], data)
    vector = whole[0, :, 0]
    low, high = streams.split(streams.constant(vector), [cut, rows - cut])
    if 0 < cut < rows:
        same(low, vector[:cut], data)
        same(streams.joined([low, high]), vector, data)
        same(streams.joined(streams.split(streams.constant(whole[0]), [cut, rows - cut])), whole[0], data)
    with pytest.raises(BadFileError):
        streams.split(streams.constant(whole), [rows, 1])


@given(n=sizes, rows=sizes, k=sizes, data=st.data())
def test_stacked_and_taken(n: int, rows: int, k: int, data: st.DataObject) -> None:
    whole = numbers(n, rows, k)
    same(streams.stacked([streams.constant(x) for x in whole]), whole, data)
    order = np.array(data.draw(st.permutations(range(rows))))
    same(streams.take(streams.constant(whole[0]), order), whole[0][order], data)
    same(streams.take(streams.constant(whole[0, :, 0]), order), whole[0, :, 0][order], data)
    same(streams.reshaped(streams.constant(whole), n * rows, k), whole.reshape(-1, k), data)
    zeros = np.zeros((data.draw(st.integers(0, 3)), k), np.float32)
    same(streams.padded(streams.constant(whole[0]), rows + len(zeros)), np.concatenate([whole[0], zeros]), data)


@pytest.mark.parametrize(("dtype", "kept"), [("F16", np.float16), ("BF16", np.float32), ("F32", np.float32)])
def test_precision_is_kept(dtype: str, kept: type[np.generic], tmp_path: Path) -> None:
    """Half floats stay such through a sum, as in llama.cpp's converter."""
    x = drawn("norm", (40,))
    (tmp_path / "x.safetensors").write_bytes(safetensors_bytes({"x": (dtype, as_type(x, dtype))}))
    file = Safetensors(tmp_path / "x.safetensors")
    stream = streams.plus(file.tensors["x"], 1.0)
    read = stream.read(0, 1)
    assert read.dtype == kept
    stored = as_type(x, dtype)
    values = stored if dtype != "BF16" else (stored.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(read[0], values + values.dtype.type(1))
    file.close()


def test_memory(tmp_path: Path) -> None:
    """Less than one tensor in float32, whatever is written."""
    case = CASES["llama-linear"]
    folder = write_folder(tmp_path / "folder", case)
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 1, "intermediate_size": 200_000}
    (folder / "config.json").write_text(json.dumps(config))
    write_weights(folder, weights(config), "BF16", 1)
    largest = 4 * 64 * 200_000

    def written(name: str, type_name: str) -> None:
        with open_source(folder) as source:
            if tracemalloc.is_tracing():
                tracemalloc.reset_peak()
            write_plan(source, plan_conversion(source, type_name), tmp_path / name, WriteOptions())

    written("before.gguf", "q8_0")  # modules and kernels, which are there from now on, are not counted
    for type_name in ("f32", "q8_0"):
        tracemalloc.start()
        written(f"{type_name}.gguf", type_name)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < largest


def test_fp8_without_scales_is_read_exactly(tmp_path: Path) -> None:
    """Every finite value of both types, as ml_dtypes and the OCP tables have them; NaN is refused."""
    codes = np.arange(256, dtype=np.uint8)
    e4m3 = np.array([_fp8(code, 4, 3, 7) for code in codes])
    e5m2 = np.array([_fp8(code, 5, 2, 15) for code in codes])
    kept = {"F8_E4M3": codes & 127 != 127, "F8_E5M2": codes >> 2 & 31 != 31}
    for (dtype, finite), values in zip(kept.items(), (e4m3, e5m2), strict=True):
        path = tmp_path / f"{dtype}.safetensors"
        for mask in (finite, ~finite):
            n = int(mask.sum())
            head = json.dumps({"x": {"dtype": dtype, "shape": [n], "data_offsets": [0, n]}}).encode()
            path.write_bytes(len(head).to_bytes(8, "little") + head + codes[mask].tobytes())
            file = Safetensors(path)
            if mask is finite:
                assert np.array_equal(file.tensors["x"].read(0, 1)[0], values[mask].astype(np.float16))
            else:
                with pytest.raises(BadFileError, match="NaN or infinity"):
                    file.tensors["x"].read(0, 1)
            file.close()


def _fp8(code: int, exponent_bits: int, mantissa_bits: int, bias: int) -> float:
    exponent = int(code) >> mantissa_bits & (1 << exponent_bits) - 1
    mantissa = (int(code) & (1 << mantissa_bits) - 1) / (1 << mantissa_bits)
    size = (1 + mantissa) * 2.0 ** (exponent - bias) if exponent else mantissa * 2.0 ** (1 - bias)
    return -size if code > 127 else size
