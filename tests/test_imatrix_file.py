"""The file of an importance matrix: its form, work that is resumed, what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from imatrices import CTX, measured
from naive import nmse

from llmlocal.errors import BadFileError
from llmlocal.gguf import open_gguf, write_gguf
from llmlocal.imatrix import collect as importance
from llmlocal.imatrix.collect import CollectOptions, collect
from llmlocal.imatrix.file import Imatrix, TextRead, load_imatrix, write_imatrix
from llmlocal.quant.tensor import QTensor

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def text(data: Path) -> bytes:
    return (data / "text" / "val-60k-ascii.txt").read_bytes()


@pytest.fixture
def made(story: Path, text: bytes, tmp_path: Path) -> Path:
    measured(story, text, tmp_path / "m.gguf", chunks=2)
    return tmp_path / "m.gguf"


def test_the_file_is_what_llama_quantize_reads(made: Path) -> None:
    """Keys, types and shapes as llama-imatrix writes them: `load_imatrix` of llama-quantize stops without them."""
    reader = gguf.GGUFReader(made)
    kinds = {name: f.types[-1] for name, f in reader.fields.items() if "imatrix." in name}
    values = {name: f.contents() for name, f in reader.fields.items()}
    assert values["general.type"] == "imatrix" and values["imatrix.datasets"] == ["text.txt"]
    assert (values["imatrix.chunk_count"], values["imatrix.chunk_size"]) == (2, CTX)
    assert kinds["imatrix.chunk_count"] == kinds["imatrix.chunk_size"] == gguf.GGUFValueType.UINT32
    shapes = {t.name: t.shape.tolist() for t in reader.tensors}
    assert all(t.tensor_type == gguf.GGMLQuantizationType.F32 for t in reader.tensors)
    assert shapes["blk.0.attn_q.weight.in_sum2"] == [64, 1] and shapes["blk.0.attn_q.weight.counts"] == [1, 1]
    assert shapes["blk.4.ffn_down.weight.in_sum2"] == [172, 1] and len(shapes) == 2 * 7 * 5
    assert not [name for name in shapes if not name.endswith((".in_sum2", ".counts"))]


def test_a_file_comes_back(tmp_path: Path) -> None:
    matrix = Imatrix(8, texts=[TextRead("a", "x", 2), TextRead("b", "", 1)])
    sums = np.arange(12, dtype=np.float32).reshape(3, 4)
    matrix.add("w", sums, np.array([2, 0, 4]))
    matrix.add("w", sums, np.array([2, 0, 4]))
    write_imatrix(tmp_path / "m", matrix)
    back = load_imatrix(tmp_path / "m")
    assert back.texts == matrix.texts and back.chunks == 3 and back.chunk_size == 8
    assert np.array_equal(back.sums["w"], 2 * sums) and back.counts["w"].tolist() == [4, 0, 8]
    assert load_imatrix(tmp_path / "m").means("w").tolist() == [[0, 0.5, 1, 1.5], [1] * 4, [2, 2.25, 2.5, 2.75]]
    assert matrix.unused() == {"w": 1}


def test_resumed_work_is_that_of_one_run(story: Path, text: bytes, made: Path, tmp_path: Path) -> None:
    whole = measured(story, text, tmp_path / "whole", chunks=5)
    steps = list(collect(story, text, "text.txt", made, CollectOptions(CTX, 5, resume=True)))
    assert [step.done for step in steps] == [2, 3, 4, 5] and {step.before for step in steps} == {2}
    resumed = load_imatrix(made)
    assert resumed.texts == whole.texts and all(
        nmse(resumed.sums[name], sums) < 1e-12 and resumed.counts[name] == whole.counts[name]
        for name, sums in whole.sums.items()
    )
    before = made.read_bytes()
    assert (
        len(list(collect(story, text, "text.txt", made, CollectOptions(CTX, 5, resume=True)))) == 1
    )  # nothing is left to do
    assert made.read_bytes() == before


def test_another_text_is_added(story: Path, text: bytes, made: Path, tmp_path: Path) -> None:
    other = text[5000:9000]
    *_, last = collect(story, other, "text.txt", made, CollectOptions(CTX, 1, resume=True))
    assert [(read.name, read.chunks) for read in last.matrix.texts] == [("text.txt", 2), ("text.txt", 1)]
    alone, both, first = measured(story, other, tmp_path / "alone", chunks=1), load_imatrix(made), {}
    first = measured(story, text, tmp_path / "first", chunks=2)
    for name, sums in both.sums.items():
        assert nmse(sums, alone.sums[name] + first.sums[name]) < 1e-12


def test_a_file_of_llama_imatrix_is_gone_on_with(story: Path, text: bytes, made: Path, tmp_path: Path) -> None:
    """It has none of our keys, and names the text by its path."""
    with open_gguf(made) as file:
        metadata = {k: v for k, v in file.metadata.items() if not k.startswith("llmlocal")}
        metadata["imatrix.datasets"] = ["somewhere/text.txt"]
        write_gguf(tmp_path / "foreign", metadata, list(file.tensors.values()))
    *_, last = collect(story, text, "text.txt", tmp_path / "foreign", CollectOptions(CTX, 3, resume=True))
    assert (last.before, last.done) == (2, 3)
    metadata["imatrix.datasets"] = ["text.txt", "other.txt"]
    with open_gguf(made) as file:
        write_gguf(tmp_path / "foreign", metadata, list(file.tensors.values()))
    with pytest.raises(importance.UsageError, match="does not record how much of"):
        measured(story, text, tmp_path / "foreign", resume=True)


def test_it_is_saved_on_the_way(story: Path, text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "SAVE_SECONDS", -1.0)
    steps = collect(story, text, "text.txt", tmp_path / "m", CollectOptions(CTX))
    for _ in range(4):
        next(steps)
    steps.close()  # as Ctrl-C would
    assert load_imatrix(tmp_path / "m").chunks == 3
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_refusals(said: Said, story: Path, data: Path, made: Path, tmp_path: Path) -> None:
    source = data / "text" / "val-60k-ascii.txt"
    before = made.read_bytes()
    shutil.copy(story, tmp_path / "copy.gguf")

    def told(*words: Any) -> tuple[int, str]:
        code, out, err = said("imatrix", *words)
        assert not out and "Traceback" not in err
        return code, err

    code, err = told(story, source, "-o", made)
    assert code == 2 and "--resume" in err
    code, err = told(story, source, "-o", made, "--resume", "-c", "32")
    assert code == 2 and "-c 64" in err
    assert told(tmp_path / "copy.gguf", source, "-o", tmp_path / "copy.gguf", "--force")[0] == 2
    assert (tmp_path / "copy.gguf").read_bytes() == story.read_bytes()
    assert told(story, source, "-o", tmp_path / "copy.gguf", "--resume")[0] == 5
    assert told(story, source, "-o", tmp_path / "none" / "m.gguf")[0] == 3
    assert told(story, source, "-o", tmp_path)[0] == 2
    assert told(story, "-o", made)[0] == 2
    assert told(story, tmp_path / "none.txt")[0] == 3
    assert told(tmp_path / "none.gguf", source, "-o", tmp_path / "x")[0] == 3
    assert told(story, source, "-c", "60000", "-o", tmp_path / "x")[0] == 2
    assert told(story, "--stats")[0] == 5
    assert made.read_bytes() == before and not (tmp_path / "x").exists()


def test_another_models_matrix(tmp_path: Path, made: Path, text: bytes, story: Path) -> None:
    """Shapes that do not fit are told, and the file stays as it was."""
    matrix = load_imatrix(made)
    matrix.sums["blk.0.attn_q.weight"] = np.zeros((1, 32))
    write_imatrix(tmp_path / "other", matrix)
    before = (tmp_path / "other").read_bytes()
    with pytest.raises(BadFileError, match=r"has shape \(1, 32\)"):
        measured(story, text, tmp_path / "other", chunks=3, resume=True)
    assert (tmp_path / "other").read_bytes() == before


def test_numbers_that_are_none(story: Path, text: bytes, tmp_path: Path) -> None:
    with open_gguf(story) as file:
        tensors = dict(file.tensors)
        name = "blk.1.attn_norm.weight"
        values = np.full(tensors[name].k, np.float32(3e38))
        tensors[name] = QTensor(name, tensors[name].format, tensors[name].shape, memoryview(values.tobytes()))
        write_gguf(tmp_path / "bad.gguf", file.metadata.raw(), list(tensors.values()))
    with pytest.raises(BadFileError):
        measured(tmp_path / "bad.gguf", text, tmp_path / "m", chunks=1)
    assert not (tmp_path / "m").exists()
