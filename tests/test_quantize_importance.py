"""`quantize` with an importance matrix: types that need one, its older form, experts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
from quantized_files import formats, write_small
from recipe_models import MODELS

from llmlocal.gguf import open_gguf, write_gguf
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.tensor import QTensor

Said = Callable[..., tuple[int, str, str]]


def test_types_that_need_an_importance_matrix(said: Said, small: Path, tmp_path: Path) -> None:
    """Refused without one, marked by --list, and chosen by --target-size only with one."""
    rows = {row["type"]: row for row in json.loads(said("quantize", small, "--list", "--json")[1])["types"]}
    marked = {name for name, row in rows.items() if row["needs_imatrix"]}
    assert marked == {"IQ3_XS", "IQ3_XXS", "Q2_K_S", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"}
    lines = said("quantize", small, "--list")[1].splitlines()
    assert {line.split()[0] for line in lines if line.endswith("needs --imatrix")} == marked
    code, out, err = said("quantize", small, "IQ2_XXS")
    assert (code, out, len(err.splitlines())) == (2, "", 2) and "llmlocal imatrix MODEL" in err
    assert "IQ2_XXS needs an importance matrix, for 'blk." in err and not small.with_name("small-IQ2_XXS.gguf").exists()
    assert said("quantize", small, "Q4_0", "--tensor-type", "ffn_up=iq1_s", "--dry-run")[0] == 2
    assert said("quantize", small, "Q4_0", "--embed-type", "iq1_s", "--dry-run")[0] == 0  # as llama-quantize
    with open_gguf(small) as file:
        wide = {t.name: t.shape for t in file.tensors.values() if len(t.shape) == 2}
    matrix, size = tmp_path / "imatrix.gguf", rows["IQ2_XS"]["bytes"]
    write_imatrix(matrix, wide)
    given = ("--imatrix", matrix, "--dry-run", "--json")
    assert json.loads(said("quantize", small, "--target-size", size, *given)[1])["type"] == "IQ2_XS"
    code, _, err = said("quantize", small, "--target-size", size, "--dry-run")
    assert code == 2 and "or smaller types with --imatrix" in err
    without = json.loads(said("quantize", small, "--target-size", 2 * size, "--dry-run", "--json")[1])["type"]
    assert without not in marked
    write_imatrix(matrix, {name: shape for name, shape in wide.items() if name != "blk.1.attn_k.weight"})
    code, _, err = said("quantize", small, "IQ2_XXS", *given)
    assert code == 2 and "'blk.1.attn_k.weight' as IQ2_XXS needs values" in err and "--tensor-type" in err


def test_codebook_types_are_written(said: Said, small: Path, tmp_path: Path) -> None:
    """What a mix of codebook types leaves, and that the columns that matter keep more."""
    with open_gguf(small) as file:
        wide = {t.name: t.shape for t in file.tensors.values() if len(t.shape) == 2}
    matrix, out = tmp_path / "imatrix.gguf", tmp_path / "out.gguf"
    write_imatrix(matrix, wide)
    assert said("quantize", small, out, "IQ3_S", "--imatrix", matrix, "-q")[0] == 0
    assert formats(out)["blk.1.ffn_up.weight"] == "IQ3_S"
    with open_gguf(small) as source, open_gguf(out) as made:
        assert made.metadata["general.file_type"] == 26
        name = "blk.1.ffn_up.weight"
        lost = np.abs(made.tensors[name].dequantize() - source.tensors[name].dequantize()).mean(axis=0)
    assert lost[::8].mean() < 0.6 * np.delete(lost, np.s_[::8]).mean()


def test_importance_changes_what_is_kept(said: Said, small: Path, tmp_path: Path) -> None:
    matrix = tmp_path / "imatrix.gguf"
    with open_gguf(small) as file:
        wide = {t.name: t.shape for t in file.tensors.values() if len(t.shape) == 2}
    write_imatrix(matrix, wide)
    assert said("quantize", small, tmp_path / "plain.gguf", "Q4_K_S", "-q")[0] == 0
    assert said("quantize", small, tmp_path / "weighed.gguf", "Q4_K_S", "--imatrix", matrix, "-q")[0] == 0
    with (
        open_gguf(small) as source,
        open_gguf(tmp_path / "plain.gguf") as plain,
        open_gguf(tmp_path / "weighed.gguf") as weighed,
    ):
        name = "blk.1.ffn_gate.weight"
        want = source.tensors[name].dequantize()
        lost = [((g.tensors[name].dequantize() - want) ** 2)[:, ::8].sum() for g in (plain, weighed)]
    assert lost[1] < 0.7 * lost[0]
    write_imatrix(matrix, dict.fromkeys(wide, (3, 8)))
    assert said("quantize", small, tmp_path / "x.gguf", "Q4_K_S", "--imatrix", matrix)[0] == 5
    assert said("quantize", small, tmp_path / "x.gguf", "Q4_K_S", "--imatrix", small)[0] == 5


def legacy_imatrix(means: dict[str, np.ndarray[Any, Any]], calls: int, tail: bytes = b"") -> bytes:
    """The binary form that llama-imatrix wrote before GGUF."""
    parts = [pack("<i", len(means))]
    for name, values in means.items():
        parts += [pack("<i", len(name)), name.encode(), pack("<ii", calls, values.size)]
        parts.append((values * calls).astype("<f4").tobytes())
    return b"".join(parts) + tail


def test_the_older_form_of_an_importance_matrix_is_read(said: Said, small: Path, tmp_path: Path) -> None:
    """The same bytes as with the GGUF form, also of experts; truncated and odd files are refused."""
    with open_gguf(small) as file:
        wide = {t.name: t.shape for t in file.tensors.values() if len(t.shape) == 2}
    write_imatrix(tmp_path / "m.gguf", wide)
    means = {name: np.where(np.arange(shape[-1]) % 8, 1.0, 100.0) for name, shape in wide.items()}
    old = legacy_imatrix(means, 4, pack("<ii", 7, 8) + b"wiki.txt")
    (tmp_path / "m.dat").write_bytes(old)
    for name in ("m.gguf", "m.dat"):
        assert said("quantize", small, tmp_path / f"{name}.q", "Q4_K_S", "--imatrix", tmp_path / name, "-q")[0] == 0
    with open_gguf(tmp_path / "m.gguf.q") as a, open_gguf(tmp_path / "m.dat.q") as b:
        assert all(a.tensors[name].data == b.tensors[name].data for name in a.tensors)
        keys = {k: (b.types[k].name, v) for k, v in b.metadata.items() if "imatrix" in k}
    assert keys == {
        "quantize.imatrix.file": ("STRING", str(tmp_path / "m.dat")[:127]),
        "quantize.imatrix.dataset": ("STRING", "wiki.txt"),
        "quantize.imatrix.entries_count": ("U32", len(wide)),
        "quantize.imatrix.chunks_count": ("U32", 7),
    }
    for odd in (old[:-3], old[:40], old[: len(old) // 2], old.replace(pack("<i", 4), pack("<i", -1) * 1, 1)[:200]):
        (tmp_path / "odd.dat").write_bytes(odd)
        code, _, err = said("quantize", small, tmp_path / "x", "Q4_K_S", "--imatrix", tmp_path / "odd.dat")
        assert code == 5 and len(err.splitlines()) <= 2 and not (tmp_path / "x").exists()
    experts = tmp_path / "experts.gguf"
    write_small(experts, MODELS["experts-4"])
    with open_gguf(experts) as file:
        values = {t.name: np.ones(t.shape[-1] * t.rows // t.shape[-2]) for t in file.tensors.values() if t.rows > 1}
    (tmp_path / "e.dat").write_bytes(legacy_imatrix(values, 1))
    assert said("quantize", experts, tmp_path / "e.q", "Q4_0", "--imatrix", tmp_path / "e.dat", "-q")[0] == 0
    assert "blk.0." in said("imatrix", tmp_path / "e.dat", "--stats")[1]


def write_imatrix(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Every eighth column is a hundred times as important."""
    tensors = []
    for name, shape in shapes.items():
        sums = np.ones((1, shape[-1]), np.float32)
        sums[:, ::8] = 100
        for end, values in ((".in_sum2", sums), (".counts", np.full((1, 1), 1, np.float32))):
            tensors.append(QTensor(name + end, BY_NAME["F32"], values.shape, memoryview(values.tobytes())))
    write_gguf(path, {"general.type": "imatrix"}, tensors)


def test_experts(said: Said, tmp_path: Path) -> None:
    source = tmp_path / "experts.gguf"
    write_small(source, MODELS["experts-4"])
    assert said("quantize", source, tmp_path / "out.gguf", "MXFP4_MOE", "-q")[0] == 0
    with open_gguf(source) as old, open_gguf(tmp_path / "out.gguf") as new:
        tensor = new.tensors["blk.0.ffn_up_exps.weight"]
        assert tensor.format.name == "MXFP4"
        want = old.tensors[tensor.name].dequantize()
        lost = tensor.dequantize() - want
        assert np.sqrt((lost**2).mean() / (want**2).mean()) < 0.13
