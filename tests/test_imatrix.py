"""Importance matrices: kernels against NumPy, a trained model and a mixture against NumPy models, files, resuming."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
from families.converted import write_converted
from imatrices import CTX, measured
from instruction_sets import ISAS
from naive import Floats, nmse, number, run

from llmlocal.engine import Engine
from llmlocal.generation.session import Session
from llmlocal.gguf import open_gguf
from llmlocal.imatrix import collect as importance
from llmlocal.imatrix.file import Imatrix, load_imatrix
from llmlocal.imatrix.statistics import statistics
from llmlocal.measure.perplexity import cut_in_chunks
from llmlocal.ops.column_squares import column_squares, column_squares_grouped, column_squares_reference

Said = Callable[..., tuple[int, str, str]]
GROUPS = [(0, 0, 1), (2, 1, 30), (3, 31, 2), (6, 33, 9)]  # of 7 matrices


@pytest.fixture(scope="session")
def text(data: Path) -> bytes:
    return (data / "text" / "val-60k-ascii.txt").read_bytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("tokens", "k"), [(1, 1), (512, 172), (17, 64), (40, 500), (0, 8)])
def test_column_squares(tokens: int, k: int, isa: str) -> None:
    x, seen = np.random.default_rng(0).normal(size=(tokens, k)).astype(np.float32), set()
    for threads in (1, 2, 5):
        sums, counts = np.ones(k, np.float32), np.full(1, 3)
        run(column_squares, isa, threads, tokens=number(tokens), x=x, sums=sums, counts=counts, k=k)
        assert np.allclose(sums, 1 + (x.astype(np.float64) ** 2).sum(0), rtol=3e-6) and counts[0] == 3 + tokens
        seen.add(sums.tobytes())
    assert len(seen) == 1


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("k", [7, 200])
def test_column_squares_grouped(k: int, isa: str) -> None:
    rng, seen = np.random.default_rng(1), set()
    x, source = rng.normal(size=(20, k)).astype(np.float32), rng.integers(0, 20, 42)
    want, numbers = column_squares_reference(x.astype(np.float64), GROUPS, source, 7)
    groups = np.array([len(GROUPS), *np.ravel(GROUPS)], np.int64)
    for threads in (1, 3):
        sums, counts = np.zeros((7, k), np.float32), np.zeros(7, np.int64)
        what = {"groups": groups, "source": source, "x": x, "sums": sums, "counts": counts, "k": k}
        run(column_squares_grouped, isa, threads, **what)
        assert np.allclose(sums, want, rtol=3e-6) and np.array_equal(counts, numbers)
        seen.add(sums.tobytes())
    assert len(seen) == 1


@dataclass
class Heard:
    """What products of NumPy models read, by the weight's name: for each matrix its inputs."""

    block: int = -1
    inputs: dict[str, list[list[Floats]]] = field(default_factory=dict)

    def note(self, name: str, x: Floats, matrix: int = 0, matrices: int = 1) -> None:
        self.block += name == "attn_q"
        held = self.inputs.setdefault(f"blk.{self.block}.{name}.weight", [[] for _ in range(matrices)])
        held[matrix].append(x)

    def sums(self, name: str) -> tuple[Floats, list[int]]:
        held = [np.concatenate(each) if each else None for each in self.inputs[name]]
        k = next(each.shape[1] for each in held if each is not None)
        sums = np.stack([(each**2).sum(0) if each is not None else np.zeros(k) for each in held])
        return sums, [len(each) if each is not None else 0 for each in held]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    heard, linear = Heard(), naive.linear

    def listening(w: Any, name: str, x: Floats) -> Floats:
        heard.note(name, x)
        return linear(w, name, x)

    monkeypatch.setattr(naive, "linear", listening)
    return heard


class Mixture(naive.Llama):
    """A llama whose feed-forwards are two of several experts."""

    heard: Heard

    def _feed_forward(self, w: Any, x: Floats) -> Floats:
        x = self._norm(x, w["ffn_norm.weight"])
        scores = naive.linear(w, "ffn_gate_inp", x)
        out = np.zeros_like(x)
        for row, score, to in zip(x, scores, out, strict=True):
            chosen = np.argsort(-score)[:2]
            weights = np.exp(score[chosen] - score.max())
            for e, weight in zip(chosen, weights / weights.sum(), strict=True):
                to += weight * self._expert(w, int(e), row[None], len(score))[0]
        return out

    def _expert(self, w: Any, e: int, x: Floats, count: int) -> Floats:
        gate, up = (x @ w[f"ffn_{name}_exps.weight"][e].T for name in ("gate", "up"))
        inner = gate / (1 + np.exp(-gate)) * up
        for name, read in (("gate", x), ("up", x), ("down", inner)):
            self.heard.note(f"ffn_{name}_exps", read, e, count)
        out: Floats = inner @ w["ffn_down_exps.weight"][e].T
        return out


def chunks_of(path: Path, text: bytes, n: int) -> list[list[int]]:
    with Session.open(path, n_ctx=CTX) as session:
        return cut_in_chunks(session.tokenizer, text, CTX, n)


def check_equal(matrix: Imatrix, heard: Heard, bound: float) -> None:
    assert set(matrix.sums) == set(heard.inputs)
    for name, sums in matrix.sums.items():
        want, counts = heard.sums(name)
        assert nmse(sums, want) <= bound and matrix.counts[name].tolist() == counts


def test_trained_model(stories: Path, text: bytes, heard: Heard, tmp_path: Path) -> None:
    path = stories / "stories260K-f32.gguf"
    matrix = measured(path, text, tmp_path / "m", chunks=3)
    with open_gguf(path) as file:
        model = naive.Llama.of(file)
    for chunk in chunks_of(path, text, 3):
        heard.block = -1
        model.logits(chunk)
    check_equal(matrix, heard, 1e-6)  # the cache rounds to halves, perhaps the other options


def test_sums_are_llama_cpps(stories: Path, text: bytes, tmp_path: Path) -> None:
    """The golden holds what llama.cpp's own products read, see tools/make_imatrix_goldens.py."""
    want = np.load(Path(__file__).parent / "golden" / "imatrix.npz")
    matrix = measured(stories / "stories260K-f32.gguf", text, tmp_path / "m", chunks=4)
    assert set(want) == set(matrix.sums) and len(want) == 35
    for name, sums in matrix.sums.items():
        assert nmse(sums[0], want[name]) <= 1e-6 and matrix.counts[name].tolist() == [4 * CTX]


def test_experts(tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    path, ids = write_converted("mixtral", tmp_path), np.random.default_rng(5).integers(3, 40, (3, CTX)).tolist()
    monkeypatch.setattr(importance, "cut_in_chunks", lambda *_: ids)
    matrix = measured(path, b"", tmp_path / "m")
    with open_gguf(path) as file:
        model = Mixture.of(file)
    object.__setattr__(model, "heard", heard)
    for chunk in ids:
        heard.block = -1
        model.logits(chunk)
    check_equal(matrix, heard, 1e-6)
    experts = matrix.counts["blk.0.ffn_gate_exps.weight"]
    assert len(experts) > 2 and experts.sum() == 2 * 3 * CTX


def test_experts_of_a_group_with_one_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, ids = write_converted("grovemoe", tmp_path), np.random.default_rng(5).integers(3, 40, (2, CTX)).tolist()
    monkeypatch.setattr(importance, "cut_in_chunks", lambda *_: ids)
    matrix = measured(path, b"", tmp_path / "m")
    for name in ("gate", "up"):  # all read the same
        each, together = f"blk.1.ffn_{name}_exps.weight", f"blk.1.ffn_{name}_chexps.weight"
        assert matrix.counts[together].tolist() == matrix.counts[each].reshape(3, 2).sum(1).tolist()
        assert nmse(matrix.sums[together], matrix.sums[each].reshape(3, 2, -1).sum(1)) <= 1e-12
    assert matrix.counts["blk.1.ffn_down_chexps.weight"].sum() == 3 * 2 * CTX


def test_threads_change_no_bit_and_the_output_counts_when_asked(stories: Path, text: bytes, tmp_path: Path) -> None:
    path, seen = stories / "stories260K-Q8_0.gguf", set()
    for threads in (1, 2, 5):
        measured(path, text, tmp_path / f"{threads}", chunks=2, n_threads=threads)
        seen.add((tmp_path / f"{threads}").read_bytes())
    assert len(seen) == 1
    plain = load_imatrix(tmp_path / "1")
    with_output = measured(path, text, tmp_path / "o", chunks=2, output=True)
    (extra,) = set(with_output.sums) - set(plain.sums)
    assert extra in ("output.weight", "token_embd.weight") and with_output.counts[extra].tolist() == [2 * CTX]
    assert all(nmse(with_output.sums[name], sums) < 1e-9 for name, sums in plain.sums.items())


def test_only_what_is_wanted_is_watched(story: Path) -> None:
    """A program that nobody watches is as it was; another has one operation more for all that read the same."""
    operations = []
    for wanted in (None, ("ffn_up", "ffn_gate", "attn_norm"), ("ffn_down",)):
        observer = importance.ColumnSums(lambda name, w=wanted: any(name == f"blk.0.{each}.weight" for each in w or ()))
        engine = Engine.open(story, n_ctx=CTX, observer=observer if wanted else None)
        operations.append(len(engine._program.operations))
        engine.close()
    assert operations == [operations[0], operations[0] + 1, operations[0] + 1]


def test_command(said: Said, story: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = data / "text" / "val-60k-ascii.txt"
    code, out, _ = said("imatrix", story, source, "--chunks", "2", "-c", CTX, "-t", 1)
    first, second = out.splitlines()
    assert (code, first) == (0, "stories260K-Q8_0.imatrix.gguf") and second == f"35 tensors; 2 chunks of {CTX} tokens"
    code, out, _ = said("imatrix", story, source, "--chunks", "3", "-c", CTX, "--resume", "--json", "--stats")
    record = json.loads(out)
    assert (code, record["schema"], record["chunks"], record["chunk_size"], record["weights"]) == (0, 1, 3, CTX, 35)
    assert record["texts"][0]["name"] == source.name and len(record["stats"]) == 35
    more = ("--with-output", "-o", "more.gguf", "--chunks", "1", "-c", CTX)
    assert said("imatrix", story, source, *more)[1].splitlines()[1].startswith("36 tensors")
    code, out, _ = said("imatrix", first, "--stats")
    assert code == 0 and max(map(len, out.splitlines())) <= 80 and len(out.splitlines()) == 35 + 4


def test_statistics_of_known_columns() -> None:
    matrix = Imatrix(8)
    matrix.add("blk.0.w", np.array([[4, 4, 4, 4]], np.float32), np.array([4]))
    matrix.add("blk.1.w", np.array([[0, 0, 0, 8]], np.float32), np.array([4]))
    matrix.add("blk.1.e", np.array([[2, 6], [9, 9]], np.float32), np.array([2, 0]))
    by_name = {s.name: s for s in statistics(matrix)}
    assert next(iter(by_name)) in ("blk.0.w", "blk.1.e")  # totals of 4 and 4, then 2
    even, odd, experts = by_name["blk.0.w"], by_name["blk.1.w"], by_name["blk.1.e"]
    assert (even.total, even.evenness, even.outliers, even.likeness) == (4, 1, 0, None)
    assert (odd.total, odd.largest, odd.evenness, odd.outliers, odd.likeness) == (2, 2, 0, 0.25, 0.5)
    assert (experts.matrices, experts.used, experts.total) == (2, 1, 4)


@pytest.mark.parametrize("kind", ["Q4_0", "Q5_0"])
def test_quantize_with_it_loses_less_where_it_matters(
    said: Said, stories: Path, data: Path, tmp_path: Path, kind: str
) -> None:
    model = shutil.copy(stories / "stories260K-f32.gguf", tmp_path / "m.gguf")
    matrix = tmp_path / "m.imatrix.gguf"
    assert said("imatrix", model, data / "text" / "val-60k-ascii.txt", "-o", matrix, "-c", 256, "--chunks", 8)[0] == 0
    assert said("quantize", model, tmp_path / "plain.gguf", kind, "-q")[0] == 0
    assert said("quantize", model, tmp_path / "weighed.gguf", kind, "--imatrix", matrix, "-q")[0] == 0
    held = load_imatrix(matrix)
    means = {name: held.means(name) for name in held.sums}
    plain, weighed = (lost(Path(model), tmp_path / f"{name}.gguf", means) for name in ("plain", "weighed"))
    assert len(plain) >= 30 and all(weighed[name] <= plain[name] for name in plain)
    assert sum(weighed.values()) < 0.97 * sum(plain.values())


def lost(model: Path, quantized: Path, means: dict[str, Any]) -> dict[str, float]:
    """Squared errors of every quantized weight, each column by its mean square."""
    with open_gguf(model) as old, open_gguf(quantized) as new:
        return {
            name: float((means[name] * (t.dequantize() - old.tensors[name].dequantize()) ** 2).sum())
            for name, t in new.tensors.items()
            if name in means and t.format is not old.tensors[name].format
        }
