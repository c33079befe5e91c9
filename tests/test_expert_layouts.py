"""How files lay out the matrices of experts: stacked, one tensor for each, gate and up fused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import IDS
from families.converted import write_converted
from numpy.typing import NDArray

from llmlocal.engine import Engine
from llmlocal.errors import BadFileError
from llmlocal.gguf import open_gguf
from llmlocal.gguf.writer import write_gguf
from llmlocal.imatrix.observer import ColumnSums
from llmlocal.layers.expert_matrices import ExpertMatrices
from llmlocal.model_info.work import work
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.tensor import QTensor
from llmlocal.runtime.weight_copy import WeightCopy

Tensors = dict[str, QTensor]
Change = Callable[[Tensors], Tensors]
EXPERTS = 6


def logits(path: Path, observer: ColumnSums | None = None, copied: bool = False) -> NDArray[np.float32]:
    sizes = {"n_ctx": 48, "n_threads": 2, "ubatch": 16, "max_outputs": 16}
    engine = Engine.open(path, observer=observer, copy_weights=copied, **sizes)
    try:
        return engine.all_logits(IDS[:30])
    finally:
        engine.close()


def single(tensors: Tensors) -> Tensors:
    """A tensor for each expert, expert by expert, as files of Mixtral of 2023 have them."""
    out = {name: tensor for name, tensor in tensors.items() if "_exps" not in name}
    for block in range(2):
        for e in range(EXPERTS):
            for kind in ("gate", "down", "up"):
                stack = tensors[f"blk.{block}.ffn_{kind}_exps.weight"]
                one, name = stack.nbytes // EXPERTS, f"blk.{block}.ffn_{kind}.{e}.weight"
                out[name] = QTensor(name, stack.format, stack.shape[1:], stack.data[e * one : (e + 1) * one])
    return out


def fused(tensors: Tensors) -> Tensors:
    """The rows of gate and up in one tensor."""
    out = {name: tensor for name, tensor in tensors.items() if "gate_exps" not in name and "up_exps" not in name}
    for block in range(2):
        halves = [tensors[f"blk.{block}.ffn_{kind}_exps.weight"].dequantize() for kind in ("gate", "up")]
        values, name = np.concatenate(halves, axis=1), f"blk.{block}.ffn_gate_up_exps.weight"
        out[name] = QTensor(name, BY_NAME["F32"], values.shape, memoryview(values.tobytes()))
    return out


@pytest.fixture(scope="module")
def stacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_converted("mixtral", tmp_path_factory.mktemp("mixtral"))


def rewritten(path: Path, out: Path, change: Change) -> Path:
    with open_gguf(path) as gguf:
        write_gguf(out, gguf.metadata.raw(), list(change(dict(gguf.tensors)).values()))
    return out


@pytest.mark.parametrize("change", [single, fused])
def test_logits_are_those_of_stacked_experts(stacked: Path, tmp_path: Path, change: Change) -> None:
    path, want = rewritten(stacked, tmp_path / "m.gguf", change), logits(stacked)
    assert np.array_equal(logits(path), want) and np.array_equal(logits(path, copied=True), want)


def test_tiles_of_copied_experts_are_not_cut() -> None:
    """Of a copy, parts of matrices are used where they are whole tiles; other parts stay where they are."""
    fmt, (count, rows, k) = BY_NAME["Q8_0"], (3, 96, 64)
    each = rows * fmt.row_bytes(k)
    stack = QTensor("stack", fmt, (count, rows, k), memoryview(bytearray(count * each)))
    singles = [QTensor(f"{i}", fmt, (rows, k), memoryview(bytearray(each))) for i in range(count)]
    copy, whole = WeightCopy([stack, *singles]), ExpertMatrices.stacked(stack)
    start = copy.place(stack).address
    for first, last in ((0, rows), (0, 32), (32, 96)):
        part = whole.part(first, last).placed(copy.place)
        want = start + first * fmt.row_bytes(k) + each * np.arange(count)
        assert part.interleaved and part.shape == (count, last - first, k) and np.array_equal(part.addresses, want)
    for first, last in ((0, 48), (16, 48)):
        part = whole.part(first, last)
        assert part.placed(copy.place) is part and not part.interleaved
    placed = ExpertMatrices.single(singles).placed(copy.place)
    assert placed.interleaved and placed.names == ("0", "1", "2")
    assert placed.addresses.tolist() == [copy.place(tensor).address for tensor in singles]


def test_an_importance_matrix_names_each_tensor(stacked: Path, tmp_path: Path) -> None:
    path = rewritten(stacked, tmp_path / "m.gguf", single)
    seen: list[dict[str, Any]] = []
    for file in (stacked, path):
        sums, found = ColumnSums(lambda _: True), dict[str, Any]()
        logits(file, sums)
        sums.drain(lambda name, squares, counts, found=found: found.update({name: (squares.copy(), counts.copy())}))
        seen.append(found)
    with open_gguf(path) as gguf:
        matrices = {name for name, tensor in gguf.tensors.items() if len(tensor.shape) > 1 and "embd" not in name}
    assert matrices <= seen[1].keys()
    squares, counts = seen[0]["blk.1.ffn_up_exps.weight"]
    for e in range(EXPERTS):
        own, count = seen[1][f"blk.1.ffn_up.{e}.weight"]
        assert np.array_equal(own, squares[e : e + 1]) and count == counts[e]


def test_a_token_costs_the_experts_that_it_uses(stacked: Path, tmp_path: Path) -> None:
    costs = []
    for path in (stacked, rewritten(stacked, tmp_path / "m.gguf", single)):
        with open_gguf(path) as gguf:
            costs.append(work(gguf.tensors, gguf.metadata))
    assert costs[0].nbytes == pytest.approx(costs[1].nbytes)
    assert costs[0].multiply_adds == pytest.approx(costs[1].multiply_adds)


def test_experts_of_different_types_are_refused(stacked: Path, tmp_path: Path) -> None:
    def odd(tensors: Tensors) -> Tensors:
        out, name = single(tensors), "blk.1.ffn_up.3.weight"
        half = out[name].dequantize().astype(np.float16)
        return out | {name: QTensor(name, BY_NAME["F16"], half.shape, memoryview(half.tobytes()))}

    with pytest.raises(BadFileError, match=r"'blk.1.ffn_up.3.weight' is F16 and 'blk.1.ffn_up.0.weight' F32"):
        logits(rewritten(stacked, tmp_path / "m.gguf", odd))


def test_a_missing_expert_is_refused(stacked: Path, tmp_path: Path) -> None:
    def without(tensors: Tensors) -> Tensors:
        return {name: tensor for name, tensor in single(tensors).items() if name != "blk.0.ffn_down.5.weight"}

    with pytest.raises(BadFileError, match=r"'blk.0.ffn_down.5.weight' is missing"):
        logits(rewritten(stacked, tmp_path / "m.gguf", without))
