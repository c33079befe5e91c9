"""`quantize` from the command line: what it writes, what it says, what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from quantized_files import formats, write_small
from recipe_models import Small

from llmlocal.errors import UsageError
from llmlocal.gguf import ValueType, open_gguf, write_gguf
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all
from llmlocal.quant.recipes import TERNARY
from llmlocal.quant.tensor import QTensor
from llmlocal.quantize.request import beside, make_recipe, size_in_bytes
from llmlocal.quantize.type_sizes import BY_SIZE

load_all()
Said = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q5_1"])
def test_bytes_are_those_of_gguf(said: Said, small: Path, kind: str) -> None:
    assert said("quantize", small, kind.lower(), "--pure", "-q")[0] == 0
    with open_gguf(small) as old, open_gguf(small.with_name(f"small-{kind}.gguf")) as new:
        for name, tensor in old.tensors.items():
            if new.tensors[name].format.name == kind:
                want = gguf.quants.quantize(tensor.dequantize(), gguf.GGMLQuantizationType[kind])
                assert np.array_equal(new.tensors[name].bytes_array().reshape(-1), want.view(np.uint8).reshape(-1))
            else:
                assert new.tensors[name].data == tensor.data
        assert any(t.format.name == kind for t in new.tensors.values())


def test_metadata_is_carried_over(said: Said, small: Path, tmp_path: Path) -> None:
    code, out, _ = said("quantize", small, tmp_path / "new.gguf", "Q4_K_M", "--json")
    assert (code, json.loads(out)["type"]) == (0, "Q4_K_M")
    with open_gguf(small) as old, open_gguf(tmp_path / "new.gguf") as new:
        before, after = old.metadata.raw(), new.metadata.raw()
        assert after["general.file_type"] == (ValueType.U32, 15)
        assert after["general.quantization_version"] == (ValueType.U32, 2)
        same = before.keys() - {"general.file_type"}
        assert {k: (t, bytes(x) if isinstance(x, memoryview) else x) for k, (t, x) in before.items() if k in same} == {
            k: (t, bytes(x) if isinstance(x, memoryview) else x) for k, (t, x) in after.items() if k in same
        }
        assert list(old.tensors) == list(new.tensors)


def test_the_plan_is_what_is_written(said: Said, small: Path) -> None:
    plan = json.loads(said("quantize", small, "q4_k_m", "--dry-run", "--json")[1])
    out = small.with_name("small-Q4_K_M.gguf")
    assert not out.exists()
    assert said("quantize", small, "Q4_K_M", "-q")[0] == 0
    assert {t["name"]: t["to"] for t in plan["tensors"]} == formats(out)
    assert plan["bytes"] == out.stat().st_size and plan["path"] == str(out)


def test_bytes_do_not_depend_on_threads(said: Said, small: Path, tmp_path: Path) -> None:
    for threads in (1, 3):
        assert said("quantize", small, tmp_path / f"{threads}.gguf", "Q4_K_S", "-t", threads, "-q")[0] == 0
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "3.gguf").read_bytes()


def test_list_tells_sizes_that_come_true(said: Said, small: Path) -> None:
    code, out, _ = said("quantize", small, "--list", "--json")
    rows = {row["type"]: row for row in json.loads(out)["types"]}
    assert code == 0 and set(BY_SIZE) <= set(rows)
    assert said("quantize", small, "Q6_K", "-q")[0] == 0
    assert small.with_name("small-Q6_K.gguf").stat().st_size == rows["Q6_K"]["bytes"]
    assert "bits per weight" in said("quantize", small, "--list")[1]


def test_target_size_takes_the_best_that_fits(said: Said, small: Path, tmp_path: Path) -> None:
    types = json.loads(said("quantize", small, "--list", "--json")[1])["types"]
    rows = {r["type"]: r["bytes"] for r in types if not r["needs_imatrix"]}
    size = rows["Q4_K_M"] + 1
    plan = json.loads(said("quantize", small, "--target-size", size, "--dry-run", "--json")[1])
    assert rows[plan["type"]] <= size and plan["type"] == next(m for m in BY_SIZE if rows[m] <= size)
    code, _, err = said("quantize", small, "--target-size", "10K")
    assert code == 2 and "the smallest type" in err and "with --imatrix" in err


def test_types_for_ternary_weights_are_made_only_by_name(said: Said, small: Path, tmp_path: Path) -> None:
    """They leave nothing of weights that were not trained as -1, 0 and 1; the smallest file is one of theirs."""
    types = json.loads(said("quantize", small, "--list", "--json")[1])["types"]
    rows = {r["type"]: r["bytes"] for r in types if not r["needs_imatrix"]}
    others = [size for name, size in rows.items() if name not in TERNARY]
    assert min(rows.values()) < min(others)
    code, _, err = said("quantize", small, "--target-size", min(others) - 1)
    assert code == 2 and f"the smallest type of this model takes {min(others)} bytes" in err
    listed = said("quantize", small, "--list")[1].splitlines()
    assert {line.split()[0] for line in listed if "for ternary weights" in line} == {*TERNARY}
    code, _, err = said("quantize", small, tmp_path / "out.gguf", "TQ2_0")
    assert code == 0 and "TQ2_0 is for weights that were trained as -1, 0 and 1" in err


def test_types_that_users_choose(said: Said, small: Path) -> None:
    options = ("--tensor-type", "ffn_(up|gate)=q8_0", "--output-type", "f16", "--embed-type", "Q5_K")
    plan = json.loads(said("quantize", small, "Q4_K_S", "--dry-run", "--json", *options)[1])
    got = {t["name"]: t["to"] for t in plan["tensors"]}
    assert got["blk.2.ffn_up.weight"] == got["blk.0.ffn_gate.weight"] == "Q8_0"
    assert (got["output.weight"], got["token_embd.weight"]) == ("F16", "Q5_K")
    plan = json.loads(said("quantize", small, "f32", "--dry-run", "--json", "--tensor-type", "ffn_up=q8_0")[1])
    got = {t["name"]: t["to"] for t in plan["tensors"]}
    assert (got["blk.0.ffn_up.weight"], got["blk.0.ffn_gate.weight"]) == ("Q8_0", "F32")


@pytest.mark.parametrize("option", ["--embed-type", "--output-type", "--tensor-type"])
@pytest.mark.parametrize("mix", ["Q4_0", "F16"])
def test_a_type_that_does_not_fit_falls_back(said: Said, tmp_path: Path, option: str, mix: str) -> None:
    """Rows of 96 hold no block of 256; the note is the same for every option."""
    path = tmp_path / "odd.gguf"
    write_small(path, Small("llama", 1, 96, 160))
    kind = "token_embd|output=q4_k" if option == "--tensor-type" else "q4_k"
    code, _, err = said("quantize", path, tmp_path / "out.gguf", mix, option, kind)
    assert code == 0 and "Q5_0, not Q4_K: rows of 96 are not divisible by 256" in err
    assert "Q5_0" in formats(tmp_path / "out.gguf").values()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Q9_9"], "is not a type"),
        (["Q4_0", "out.gguf"], "the type comes last: quantize SRC OUT TYPE"),
        (["Q1_0"], "Q1_0' files can be run, but not made"),
        (["Q4_0", "--tensor-type", "ffn_up=q1_0"], "tensors can be run, but not made"),
        (["Q4_0", "--tensor-type", "nosuch=q8_0"], "nosuch=q8_0' matches no tensor"),
        (["Q4_0", "--tensor-type", "attn_norm=q8_0"], "matches no tensor to quantize"),
        (["Q4_0", "--tensor-type", "ffn=q8_0", "--tensor-type", "ffn_up=f16"], "an earlier --tensor-type"),
        (["Q4_0", "--embed-type", "f16", "--tensor-type", "token_embd=q8_0"], "matches no tensor"),
        (["COPY", "--tensor-type", "ffn_up=q8_0"], "COPY keeps"),
        (["--list", "--tensor-type", "nosuch=q8_0"], "matches no tensor"),
        ([], "TYPE is missing"),
        (["Q4_0", "--tensor-type", "a"], "PATTERN=TYPE"),
        (["Q4_0", "--tensor-type", "(=Q4_0"], "not a regular expression"),
        (["Q4_0", "--output-type", "Q4_7"], "is not a type of a tensor"),
        (["Q4_0", "--effort", "little"], "--effort"),
        (["Q4_0", "--split-size", "none"], "is not a size"),
        (["Q4_0", "--target-size", "1G"], "leave out Q4_0"),
    ],
)
def test_what_makes_no_sense(said: Said, small: Path, words: list[str], message: str) -> None:
    code, out, err = said("quantize", small, *words)
    assert (code, out) == (2, "") and message in err and "Traceback" not in err


def test_a_pattern_without_end_is_stopped() -> None:
    recipe = make_recipe("Q4_0", ["^(a|aa)+[bc]$=Q8_0"], None, None, pure=False, has_imatrix=False)
    with pytest.raises(UsageError, match="takes too long"):
        recipe.overrides[0][0]("a" * 60)


def test_files_in_the_way(said: Said, small: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.gguf"
    old.write_bytes(b"mine")
    assert said("quantize", small, old, "Q8_0")[0] == 2 and old.read_bytes() == b"mine"
    assert said("quantize", small, old, "Q8_0", "--force", "-q")[0] == 0 and old.read_bytes() != b"mine"
    before = small.read_bytes()
    code, _, err = said("quantize", small, small, "Q8_0", "--force")
    assert code == 2 and "would be overwritten" in err
    link = tmp_path / "link.gguf"
    link.hardlink_to(small)
    assert said("quantize", small, link, "Q8_0", "--force")[0] == 2
    assert small.read_bytes() == before


@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_numbers_that_are_none_are_refused(said: Said, tmp_path: Path, value: float, message: str) -> None:
    source = tmp_path / "bad.gguf"
    write_small(source, Small("llama", 1, 256, 256), bad={"blk.0.ffn_up.weight": value})
    code, out, err = said("quantize", source, tmp_path / "out.gguf", "Q4_0")
    assert (code, out) == (5, "") and "blk.0.ffn_up.weight" in err and message in err
    assert {p.name for p in tmp_path.iterdir()} == {"bad.gguf"}


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_K_S", "IQ4_NL"])
def test_what_is_too_large_for_a_format_is_refused(said: Said, tmp_path: Path, kind: str) -> None:
    """Not written as infinity."""
    source, tensors = tmp_path / "huge.gguf", []
    for name, shape in Small("llama", 1, 256, 256).tensors().items():
        values = np.full(shape, 1e30 if name == "blk.0.ffn_up.weight" else 1e4, np.float32)
        tensors.append(QTensor(name, BY_NAME["F32"], shape, memoryview(values.tobytes())))
    write_gguf(source, Small("llama", 1, 256, 256).metadata, tensors)
    code, _, err = said("quantize", source, tmp_path / "out.gguf", kind)
    assert code == 5 and "blk.0.ffn_up.weight" in err and "too large" in err
    assert said("quantize", source, tmp_path / "out.gguf", "BF16", "-q")[0] == 0


def test_bits_are_not_lost_twice_unasked(said: Said, small: Path, tmp_path: Path) -> None:
    once = tmp_path / "once.gguf"
    assert said("quantize", small, once, "Q8_0", "-q")[0] == 0
    code, _, err = said("quantize", once, tmp_path / "twice.gguf", "Q4_0")
    assert code == 5 and "--allow-requantize" in err
    assert said("quantize", once, tmp_path / "twice.gguf", "Q4_0", "--allow-requantize", "-q")[0] == 0
    assert said("quantize", once, tmp_path / "copy.gguf", "copy", "-q")[0] == 0
    assert formats(tmp_path / "copy.gguf") == formats(once)


@pytest.mark.parametrize("name", ["missing", "folder", "text", "cut"])
def test_sources_that_are_none(said: Said, small: Path, tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    if name == "folder":
        source.mkdir()
    elif name == "text":
        source.write_text("hello")
    elif name == "cut":
        source.write_bytes(small.read_bytes()[:-1000])
    code, out, err = said("quantize", source, tmp_path / "out.gguf", "Q4_0")
    assert code == (3 if name in ("missing", "folder") else 5) and not out and "Traceback" not in err
    assert not (tmp_path / "out.gguf").exists()


def test_a_trained_model_still_speaks(said: Said, stories: Path, tmp_path: Path) -> None:
    """Compared with its source, in tokens of text; ours runs what ours makes."""
    out = tmp_path / "out.gguf"
    code, text, _ = said("quantize", stories / "stories260K-f32.gguf", out, "Q8_0", "--check", "--json", "-q")
    record = json.loads(text)
    assert code == 0 and record["kl_mean"] < 2e-3 and record["top1"] > 0.97
    code, text, _ = said("run", out, "Once upon a time", "--raw", "-n", "12", "--temp", "0", "-q")
    assert code == 0 and "there was" in text


def test_errors_are_told(said: Said, stories: Path, tmp_path: Path) -> None:
    _, out, err = said("quantize", stories / "stories260K-f32.gguf", tmp_path / "o.gguf", "Q4_0", "-v", "--json")
    assert "token_embd.weight" in err and 0.02 < json.loads(out)["relative_rmse"] < 0.09
    record = json.loads(said("quantize", stories / "stories260K-f32.gguf", tmp_path / "p.gguf", "IQ4_NL", "--json",
                             "--effort", "high")[1])  # fmt: skip
    assert record["relative_rmse"] < record["relative_rmse_of_normal_effort"]


def test_parts(said: Said, small: Path, tmp_path: Path) -> None:
    whole, stem = tmp_path / "whole.gguf", tmp_path / "cut.gguf"
    assert said("quantize", small, whole, "Q8_0", "-q")[0] == 0
    code, out, _ = said("quantize", small, stem, "Q8_0", "--split-size", "500K", "--json", "-q")
    paths = [Path(p) for p in json.loads(out)["paths"]]
    assert code == 0 and len(paths) > 2 and all(p.exists() for p in paths)
    with open_gguf(whole) as one, open_gguf(paths[0]) as many:
        assert {n: bytes(t.data) for n, t in one.tensors.items()} == {n: bytes(t.data) for n, t in many.tensors.items()}
    assert json.loads(said("quantize", paths[0], tmp_path / "again.gguf", "COPY", "--json", "-q")[1])["paths"]
    assert formats(tmp_path / "again.gguf") == formats(whole)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("model-F16.gguf", "model-Q4_0.gguf"),
        ("model.gguf", "model-Q4_0.gguf"),
        ("a.b-bf16-00001-of-00003.gguf", "a.b-Q4_0.gguf"),
        ("q4-model.Q8_0.gguf", "q4-model-Q4_0.gguf"),
        ("f16.gguf", "f16-Q4_0.gguf"),
    ],
)
def test_name_beside_the_source(tmp_path: Path, source: str, name: str) -> None:
    assert beside(tmp_path / source, "Q4_0").name == name


def test_names_of_links_and_of_models_in_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model in the store is a link to a blob, whose name is a digest; neither name nor folder of that will do."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    stored, link = tmp_path / "hub" / "models--a--b" / "snapshots" / "1" / "m-F16.gguf", tmp_path / "m-F16.gguf"
    blob = stored.parents[2] / "blobs" / "digest"
    for path in (stored, blob):
        path.parent.mkdir(parents=True)
    blob.touch()
    for path in (stored, link):
        path.symlink_to(blob)
    assert beside(stored, "Q4_0") == Path("m-Q4_0.gguf") and beside(link, "Q4_0") == tmp_path / "m-Q4_0.gguf"
    monkeypatch.chdir(tmp_path)
    assert beside(Path("m-F16.gguf"), "Q4_0") == Path("m-Q4_0.gguf")


def test_sizes_in_words() -> None:
    assert [size_in_bytes(t) for t in ("4G", "1.5m", "700K", "12", "2GB", "1GiB")] == [
        4 << 30, 3 << 19, 700 << 10, 12, 2 << 30, 1 << 30,
    ]  # fmt: skip


def test_a_folder_is_quantized_at_once(said: Said, tmp_path: Path) -> None:
    from hf_folders import write_folder
    from test_convert import CASES

    folder = tmp_path / "folder"
    write_folder(folder, CASES["llama-linear"])
    code, out, err = said("quantize", folder, "Q8_0", "--json", "-q")
    assert code == 0, err
    path = Path(json.loads(out)["paths"][0])
    assert path == tmp_path / "folder-Q8_0.gguf"
    assert "Q8_0" in formats(path).values()
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Q4_K_M", "Q3_K_L", "IQ4_XS", "Q2_K", "Q5_0", "Q8_0"])
def test_llama_cpp_loads_the_result(said: Said, tmp_path: Path, kind: str, stories: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    out = tmp_path / "out.gguf"
    assert said("quantize", stories / "stories260K-f32.gguf", out, kind, "-q")[0] == 0
    model: Any = llama_cpp.Llama(str(out), n_ctx=64, verbose=False)
    assert model.create_completion("Once upon a time", max_tokens=4, temperature=0)["choices"][0]["text"]
