"""Interleaved rows: the copy holds what the reference says, and its products are those of the rows it was made of."""

from __future__ import annotations

import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from naive import number, run
from test_matmul import assert_close, multiply, product

from llmlocal.engine import Engine
from llmlocal.quant.format import BY_NAME, Format
from llmlocal.quant.formats import load_all
from llmlocal.quant.jit import cpu
from llmlocal.quant.kernels.interleave import MOST_LANES, can_interleave, interleave, interleave_reference, units
from llmlocal.quant.kernels.matmul import SCRATCH_BYTES, matmul
from llmlocal.quant.kernels.panels import set_for_tiles
from llmlocal.quant.tensor import QTensor
from llmlocal.runtime.buffers import aligned
from llmlocal.runtime.executor import ThreadTeam
from llmlocal.runtime.weight_copy import Pieces, WeightCopy, copied_bytes

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")
load_all()
BEST = cpu.target().isa
QUICK = ("Q4_K", "Q6_K")  # the others share their parts, and take as long to compile
FORMATS = [
    pytest.param(f, BEST, id=name, marks=() if name in QUICK else pytest.mark.slow)
    for name, f in sorted(BY_NAME.items())
    if f.short_units is not None
]
OTHERS = [
    pytest.param(BY_NAME[name], "generic", id=f"{name}-generic", marks=pytest.mark.slow)
    for name in ("Q4_0", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4")
]
ROWS, K = 64, 512


def lanes(isa: str) -> int:
    v: Any = import_module(f"llmlocal.quant.isa.{isa}")
    return set_for_tiles(v).LANES


def interleaved(data: Any, fmt: type[Format], isa: str) -> Any:
    out = aligned(data.nbytes)
    run(interleave(fmt), isa, source=data, target=out, rows=len(data), row_bytes=data.shape[1])
    return out.reshape(data.shape)


@pytest.mark.parametrize(("fmt", "isa"), FORMATS)
def test_units_cover_a_block(fmt: type[Format], isa: str) -> None:
    assert sum(size for _, size in units(fmt)) == fmt.nbytes
    assert set(fmt.short_units or {}) <= {at for at, _ in units(fmt)}
    assert lanes(isa) <= MOST_LANES and can_interleave(fmt, 2 * MOST_LANES) and not can_interleave(fmt, MOST_LANES + 8)


@pytest.mark.parametrize(("fmt", "isa"), FORMATS + OTHERS)
def test_copy_and_its_products(fmt: type[Format], isa: str) -> None:
    p = product(fmt, K)
    data = np.ascontiguousarray(p.data[:ROWS])
    tiles = interleaved(data, fmt, isa)
    assert np.array_equal(tiles.reshape(-1), interleave_reference(fmt, data, lanes(isa)).reshape(-1))
    most = None
    for tokens in (17, 1, 2, 4, 7, 9):
        y, scratch = np.full((tokens, ROWS), np.nan, np.float32), np.full(2 * SCRATCH_BYTES, 0xFF, np.uint8)
        shape = {"rows": ROWS, "k": K, "row_bytes": fmt.row_bytes(K), "y_stride": ROWS}
        kernel, operands = matmul(fmt, interleaved=True), {"weights": tiles, "x": p.acts, "y": y, "scratch": scratch}
        run(kernel, isa, 2, tokens=number(tokens), **operands, **shape)
        assert_close(p, y)
        most = y if most is None else most
        assert np.array_equal(y, most[:tokens])  # whoever is beside a token
    assert np.array_equal(most, multiply(p, ROWS, 17, isa))  # batches compute the same sums


@pytest.mark.parametrize("shape", ["tiny-llama-256", "tiny-qwen3moe-256"])
def test_an_engine_with_copied_weights_says_the_same(shape: str, tmp_path: Path) -> None:
    make_model.make_model(shape, path := tmp_path / "m.gguf", form="Q4_K")
    ids = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    logits = []
    for copy in (False, True):
        engine = Engine.open(path, n_ctx=64, n_threads=2, copy_weights=copy)
        try:
            logits += [engine.prefill(ids).copy(), engine.decode(10).copy()]
            assert all(matrices.interleaved is copy for matrices in engine._layers.expert_matrices)
        finally:
            engine.close()
    for mapped, copied in zip(logits[:2], logits[2:], strict=True):
        assert np.argmax(mapped) == np.argmax(copied)
        assert ((mapped - copied) ** 2).sum() <= 1e-6 * (mapped**2).sum()


def test_all_rows_that_can_be_are_interleaved(tmp_path: Path) -> None:
    """The output matrix has as many rows as the vocabulary has tokens."""
    make_model.make_model("tiny-llama-256", path := tmp_path / "m.gguf", form="Q4_K")
    for copy in (False, True):
        engine = Engine.open(path, n_ctx=64, n_threads=1, copy_weights=copy, load=False)
        left = engine.n_vocab % MOST_LANES
        products = [(op.kernel.name, op.operands.get("rows")) for op in engine._graph._operations]
        last = [("matmul_Q4_K_interleaved", engine.n_vocab - left), ("matmul_Q4_K", left)]
        assert left and products[-2:] == last if copy else products[-1] == ("matmul_Q4_K", engine.n_vocab)
        engine.close()


@pytest.mark.parametrize("form", ["Q4_K", "F16"])  # interleaved, and copied as it is
def test_weights_copied_ahead_say_the_same(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmlocal.runtime.weight_copy.PIECE", 1000)
    monkeypatch.setattr("llmlocal.runtime.weight_filling.PART", 3)
    make_model.make_model("tiny-llama-256", path := tmp_path / "m.gguf", form=form)
    logits = []
    for ahead in (False, True):
        engine = Engine.open(path, n_ctx=64, n_threads=2, copy_weights=True, load=False)
        if ahead:
            engine.begin_load()  # the kernels are there by now
            assert engine._filling
        engine.load()
        logits.append(engine.prefill([1, 2, 3, 4]).copy())
        engine.close()
    assert np.array_equal(*logits)


def test_a_copy_that_is_given_up_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The prompt of a large model is refused at once."""
    monkeypatch.setattr("llmlocal.runtime.weight_filling.PART", 1)
    make_model.make_model("tiny-llama-256", path := tmp_path / "m.gguf", form="Q4_K")
    Engine.open(path, n_ctx=64, n_threads=2, copy_weights=True).close()
    engine = Engine.open(path, n_ctx=64, n_threads=2, copy_weights=True, load=False)
    ran: list[object] = []
    asked, begun = threading.Event(), threading.Event()

    def run(self: ThreadTeam, program: object, *, alone: bool = False) -> None:
        begun.set()
        asked.wait()
        ran.append(program)

    monkeypatch.setattr(ThreadTeam, "run", run)
    engine.begin_load()
    begun.wait()
    closing = threading.Thread(target=engine.close)
    closing.start()
    while engine._filling and not engine._filling._given_up:
        time.sleep(0.001)
    asked.set()
    closing.join()
    assert len(ran) == 1


def test_weights_are_not_copied_ahead_of_missing_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would be compiled in this process, on one core."""
    make_model.make_model("tiny-llama-256", path := tmp_path / "m.gguf", form="Q4_K")
    monkeypatch.setattr("llmlocal.engine.compiled", lambda kernels: False)
    engine = Engine.open(path, n_ctx=64, n_threads=2, copy_weights=True, load=False)
    engine.begin_load()
    assert engine._filling is None
    engine.close()


def test_what_fails_while_weights_are_copied_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model.make_model("tiny-llama-256", path := tmp_path / "m.gguf", form="F16")
    Engine.open(path, n_ctx=64, n_threads=2, copy_weights=True).close()
    monkeypatch.setattr(Pieces, "_copy_each", lambda self: {}["gone"])
    engine = Engine.open(path, n_ctx=64, n_threads=2, copy_weights=True, load=False)
    engine.begin_load()
    with pytest.raises(KeyError, match="gone"):
        engine.load()
    engine.close()


def test_what_cannot_be_interleaved_is_copied_in_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmlocal.runtime.weight_copy.PIECE", 100)
    odd = QTensor("odd", BY_NAME["Q4_0"], (36, 64), memoryview(bytes(i % 251 for i in range(36 * 36))))
    copy = WeightCopy([odd])
    placed = copy.place(odd)
    copy.pieces().copy(2)
    assert copied_bytes([odd]) == 1344 and not copy.calls()
    assert placed.address != odd.address and not placed.interleaved and bytes(placed.data) == bytes(odd.data)
