"""Adapters merged while converting: W + scale B A, for PEFT folders and GGUF files; others' adapters are refused."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hf_folders import CASES, drawn, safetensors_bytes, write_folder, write_json
from naive import nmse
from numpy.typing import NDArray

from llmlocal.engine import Engine
from llmlocal.gguf import TensorInfo, ValueType, open_gguf
from llmlocal.gguf.writer import GGUFWriter
from llmlocal.lora.run_time import changes
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all

Said = Callable[..., tuple[int, str, str]]
Floats = NDArray[np.float32]
RANK, ALPHA = 4, 8
MODULES = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v"}
GGUF_HEADS = {"q_proj": 4, "k_proj": 2}


def factors(config: dict[str, Any]) -> dict[str, tuple[Floats, Floats]]:
    """A (rank, k) and B (rows, rank) of the adapted modules."""
    width, out = config["hidden_size"], {}
    head = config.get("head_dim") or width // config["num_attention_heads"]
    for i in range(config["num_hidden_layers"]):
        for name in MODULES:
            rows = head * config["num_attention_heads" if name == "q_proj" else "num_key_value_heads"]
            module = f"model.layers.{i}.self_attn.{name}"
            out[module] = drawn(f"A{module}", (RANK, width)), drawn(f"B{module}", (rows, RANK))
    return out


def write_peft(path: Path, config: dict[str, Any], **changes: Any) -> Path:
    path.mkdir()
    tensors = {}
    for module, (a, b) in factors(config).items():
        tensors |= {
            f"base_model.model.{module}.lora_A.weight": ("F32", a),
            f"base_model.model.{module}.lora_B.weight": ("F32", b),
        }
    (path / "adapter_model.safetensors").write_bytes(safetensors_bytes(tensors))
    said = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": list(MODULES), "bias": "none"}
    write_json(path / "adapter_config.json", said | changes)
    return path


def write_gguf_adapter(path: Path, config: dict[str, Any], architecture: str = "llama") -> Path:
    """The same adapter as llama.cpp stores it: rows of queries and keys in pairs."""
    load_all()
    tensors: dict[str, Floats] = {}
    for module, (a, b) in factors(config).items():
        _, _, block, _, name = module.split(".")
        if heads := GGUF_HEADS.get(name):
            b = b.reshape(heads, 2, -1, RANK).swapaxes(1, 2).reshape(b.shape)
        tensors |= {f"blk.{block}.{MODULES[name]}.weight.lora_a": a, f"blk.{block}.{MODULES[name]}.weight.lora_b": b}
    metadata = {
        "general.architecture": architecture,
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": (ValueType.F32, float(ALPHA)),
    }
    infos = [TensorInfo(name, BY_NAME["F32"], x.shape) for name, x in tensors.items()]
    with GGUFWriter(path, metadata, infos) as writer:
        for name, x in tensors.items():
            writer.write(name, np.ascontiguousarray(x))
    return path


def values(path: Path) -> dict[str, Floats]:
    with open_gguf(path) as gguf:
        return {name: t.dequantize() for name, t in gguf.tensors.items()}


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    path = write_folder(tmp_path / "folder", CASES["llama-linear"])
    return path, json.loads((path / "config.json").read_text())


@pytest.mark.parametrize("rslora", [False, True])
def test_peft(rslora: bool, folder: tuple[Path, dict[str, Any]], tmp_path: Path, said: Said) -> None:
    """Against the sum by NumPy, in the model's own order of rows; what has no adapter stays."""
    path, config = folder
    adapter = write_peft(tmp_path / "adapter", config, use_rslora=rslora)
    assert said("convert", path, tmp_path / "plain.gguf", "--type", "f32")[0] == 0
    assert said("convert", path, tmp_path / "tuned.gguf", "--type", "f32", "--lora", adapter)[0] == 0
    plain, tuned = values(tmp_path / "plain.gguf"), values(tmp_path / "tuned.gguf")
    scale = ALPHA / (RANK**0.5 if rslora else RANK)
    for module, (a, b) in factors(config).items():
        _, _, block, _, name = module.split(".")
        change = scale * b.astype(np.float64) @ a
        if heads := GGUF_HEADS.get(name):
            change = change.reshape(heads, 2, -1, change.shape[1]).swapaxes(1, 2).reshape(change.shape)
        key = f"blk.{block}.{MODULES[name]}.weight"
        np.testing.assert_allclose(tuned.pop(key), plain.pop(key) + change, rtol=0, atol=1e-6)
    assert all(np.array_equal(tuned[name], plain[name]) for name in plain)


def test_gguf_equals_peft(folder: tuple[Path, dict[str, Any]], tmp_path: Path, said: Said) -> None:
    path, config = folder
    for name, adapter in (
        ("peft", write_peft(tmp_path / "adapter", config)),
        ("gguf", write_gguf_adapter(tmp_path / "adapter.gguf", config)),
    ):
        assert said("convert", path, tmp_path / f"{name}-tuned.gguf", "--type", "f32", "--lora", adapter)[0] == 0
    peft, gguf = values(tmp_path / "peft-tuned.gguf"), values(tmp_path / "gguf-tuned.gguf")
    for name in peft:
        np.testing.assert_allclose(gguf[name], peft[name], rtol=0, atol=1e-6)


def test_embedding_and_saved_modules(folder: tuple[Path, dict[str, Any]], tmp_path: Path, said: Said) -> None:
    """Factors of an embedding are of its transpose; a module that was trained whole takes the place of the model's."""
    path, config = folder
    adapter = write_peft(tmp_path / "adapter", config)
    a, b = drawn("A", (RANK, config["vocab_size"])), drawn("B", (config["hidden_size"], RANK))
    head = drawn("head", (config["vocab_size"], config["hidden_size"]))
    tensors = {
        "base_model.model.model.embed_tokens.lora_embedding_A": ("F32", a),
        "base_model.model.model.embed_tokens.lora_embedding_B": ("F32", b),
        "base_model.model.lm_head.modules_to_save.weight": ("F32", head),
    }
    (adapter / "adapter_model.safetensors").write_bytes(safetensors_bytes(tensors))
    assert said("convert", path, tmp_path / "plain.gguf", "--type", "f32")[0] == 0
    assert said("convert", path, tmp_path / "tuned.gguf", "--type", "f32", "--lora", adapter)[0] == 0
    plain, tuned = values(tmp_path / "plain.gguf"), values(tmp_path / "tuned.gguf")
    wanted = plain["token_embd.weight"] + ALPHA / RANK * (b.astype(np.float64) @ a).T
    np.testing.assert_allclose(tuned["token_embd.weight"], wanted, rtol=0, atol=1e-6)
    assert np.array_equal(tuned["output.weight"], head)


def no_file(path: Path) -> None:
    (path / "adapter_model.safetensors").unlink()


def pickled(path: Path) -> None:
    no_file(path)
    (path / "adapter_model.bin").write_bytes(b"\x80\x04N.")


def other_shape(path: Path) -> None:
    pair = {
        f"base_model.model.model.layers.0.self_attn.q_proj.lora_{x}.weight": ("F32", np.ones((4, 4), np.float32))
        for x in "AB"
    }
    (path / "adapter_model.safetensors").write_bytes(safetensors_bytes(pair))


def lonely(path: Path) -> None:
    half = {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": ("F32", np.ones((4, 64), np.float32))}
    (path / "adapter_model.safetensors").write_bytes(safetensors_bytes(half))


def elsewhere(path: Path) -> None:
    pair = {f"base_model.model.other.lora_{x}.weight": ("F32", np.ones((4, 4), np.float32)) for x in "AB"}
    (path / "adapter_model.safetensors").write_bytes(safetensors_bytes(pair))


def magnitude(path: Path) -> None:
    one = {"base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector": ("F32", np.ones(4, np.float32))}
    (path / "adapter_model.safetensors").write_bytes(safetensors_bytes(one))


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda p: write_json(p / "adapter_config.json", {"peft_type": "IA3"}), 5, "'IA3' adapter"),
        (lambda p: write_json(p / "adapter_config.json", {"peft_type": "LORA", "use_dora": True}), 5, "use_dora"),
        (lambda p: write_json(p / "adapter_config.json", {"peft_type": "LORA", "lora_alpha": "8"}), 5, "alpha"),
        (
            lambda p: write_json(p / "adapter_config.json", {"peft_type": "LORA", "init_lora_weights": "pissa"}),
            5,
            "pissa",
        ),
        (no_file, 3, "has no adapter_model.safetensors"),
        (pickled, 5, "is a pickle"),
        (other_shape, 5, "for a tensor of (64, 64)"),
        (lonely, 5, "is not a pair"),
        (elsewhere, 5, "no tensor 'other.weight'"),
        (magnitude, 5, "lora_magnitude_vector"),
    ],
    ids=["kind", "dora", "alpha", "start", "missing", "pickle", "shape", "lonely", "elsewhere", "magnitude"],
)
def test_refused(
    change: Callable[[Path], object],
    code: int,
    words: str,
    folder: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    said: Said,
) -> None:
    adapter = write_peft(tmp_path / "adapter", folder[1])
    change(adapter)
    got = said("convert", folder[0], tmp_path / "out.gguf", "--lora", adapter)
    assert got[:2] == (code, "") and words in got[2], got
    assert not (tmp_path / "out.gguf").exists()


def test_others_gguf(folder: tuple[Path, dict[str, Any]], tmp_path: Path, said: Said, story: Path) -> None:
    """A GGUF that is a model, and an adapter of another architecture."""
    other = write_gguf_adapter(tmp_path / "other.gguf", folder[1], "gemma")
    assert said("convert", folder[0], tmp_path / "out.gguf", "--lora", other)[0] == 5
    code, _, error = said("convert", folder[0], tmp_path / "out.gguf", "--lora", story)
    assert code == 5 and "is not a LoRA adapter" in error


def test_into_a_gguf(folder: tuple[Path, dict[str, Any]], tmp_path: Path, said: Said) -> None:
    """A GGUF adapter into a GGUF model; everything else of the file stays."""
    adapter = write_gguf_adapter(tmp_path / "adapter.gguf", folder[1])
    plain, tuned, wanted = (tmp_path / f"{name}.gguf" for name in ("plain", "tuned", "wanted"))
    assert said("convert", folder[0], plain, "--type", "f32")[0] == 0
    assert said("convert", folder[0], wanted, "--type", "f32", "--lora", adapter)[0] == 0
    assert said("convert", plain, tuned, "--type", "f32", "--lora", adapter)[0] == 0
    assert tuned.read_bytes() == wanted.read_bytes()
    assert said("convert", plain, tmp_path / "out.gguf")[0] == 2
    assert said("convert", plain, plain, "--lora", adapter, "--force")[0] == 2
    peft = write_peft(tmp_path / "peft", folder[1])
    code, _, error = said("convert", plain, tmp_path / "out.gguf", "--lora", peft)
    assert code == 5 and "Hugging Face folder" in error and not (tmp_path / "out.gguf").exists()


def test_into_a_quantized_gguf(folder: tuple[Path, dict[str, Any]], tmp_path: Path, said: Said) -> None:
    """Tensors without an adapter keep their bytes; the others are the quantized sum."""
    adapter = write_gguf_adapter(tmp_path / "adapter.gguf", folder[1])
    plain, tuned = tmp_path / "plain.gguf", tmp_path / "tuned.gguf"
    assert said("convert", folder[0], plain, "--type", "q8_0")[0] == 0
    assert said("convert", plain, tuned, "--lora", adapter)[0] == 0  # auto: Q8_0, as the source
    changed = {f"blk.{i}.{name}.weight" for i in range(folder[1]["num_hidden_layers"]) for name in MODULES.values()}
    with open_gguf(plain) as old, open_gguf(tuned) as new, open_gguf(adapter) as factors_of:
        assert list(old.tensors) == list(new.tensors)
        for name, tensor in new.tensors.items():
            before = old.tensors[name]
            assert (tensor.data == before.data) == (name not in changed)
            if name in changed:
                a, b = (factors_of.tensors[f"{name}.lora_{x}"].dequantize() for x in "ab")
                total = before.dequantize() + np.float32(ALPHA / RANK) * (b @ a)
                assert tensor.format is before.format is BY_NAME["Q8_0"]
                assert np.array_equal(tensor.bytes_array(), tensor.format.quantize(total))


def test_a_peft_folder_becomes_a_gguf_adapter(folder: tuple[Path, dict[str, Any]], tmp_path: Path, said: Said) -> None:
    """The file has the factors and the scale of the one that llama.cpp's converter would write."""
    path, config = folder
    assert said("convert", path, tmp_path / "model.gguf", "--type", "f32", "-q")[0] == 0
    wanted = write_gguf_adapter(tmp_path / "wanted.gguf", config)
    peft = write_peft(tmp_path / "peft", config)
    code, _, err = said("convert", peft, tmp_path / "made.gguf", "--base", tmp_path / "model.gguf")
    assert code == 0 and "12 tensors" in err, err
    made, expected = values(tmp_path / "made.gguf"), values(wanted)
    assert made.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_array_equal(made[name], x)
    with open_gguf(tmp_path / "made.gguf") as gguf, open_gguf(wanted) as other:
        names = ("general.architecture", "general.type", "adapter.type", "adapter.lora.alpha")
        assert [gguf.metadata[name] for name in names] == [other.metadata[name] for name in names]


def test_scales_of_single_modules_go_into_a_factor(
    folder: tuple[Path, dict[str, Any]], tmp_path: Path, said: Said
) -> None:
    """A GGUF adapter has one alpha: merged it is what the PEFT folder is with an alpha pattern."""
    path, config = folder
    peft = write_peft(tmp_path / "peft", config, alpha_pattern={"k_proj": 3})
    assert said("convert", path, tmp_path / "model.gguf", "--type", "f32", "-q")[0] == 0
    assert said("convert", peft, tmp_path / "made.gguf", "--base", tmp_path / "model.gguf", "-q")[0] == 0
    for adapter, out in ((peft, "a.gguf"), (tmp_path / "made.gguf", "b.gguf")):
        assert said("convert", path, tmp_path / out, "--lora", adapter, "--type", "f32", "-q")[0] == 0
    got = values(tmp_path / "b.gguf")
    for name, x in values(tmp_path / "a.gguf").items():
        np.testing.assert_allclose(got[name], x, rtol=1e-5, atol=1e-6)


PEER = """
import sys, json, numpy as np
from llama_cpp import Llama
model, adapter, out, *ids = sys.argv[1:]
llama = Llama(model, lora_path=adapter, n_ctx=64, logits_all=True, verbose=False)
llama.eval([int(id) for id in ids])
np.save(out, llama.scores[: len(ids)])
"""


@pytest.mark.slow
def test_llama_cpp_loads_the_adapter(folder: tuple[Path, dict[str, Any]], tmp_path: Path, said: Said) -> None:
    """Its logits with the file are ours with it, within what its half floats of the cache cost."""
    python = os.environ.get("LLMLOCAL_PEER_PYTHON")
    if not python:
        pytest.skip("set LLMLOCAL_PEER_PYTHON to an interpreter that has llama-cpp-python")
    path, config = folder
    peft, model = write_peft(tmp_path / "peft", config), tmp_path / "model.gguf"
    assert said("convert", path, model, "--type", "f32", "-q")[0] == 0
    assert said("convert", peft, tmp_path / "made.gguf", "--base", model, "-q")[0] == 0
    ids = [5, 70, 33, 101, 12, 9]
    command = [python, "-c", PEER, model, tmp_path / "made.gguf", tmp_path / "there.npy", *ids]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    with open_gguf(model) as gguf:
        got = {}
        for name, adapters in (("plain", []), ("adapted", [(tmp_path / "made.gguf", 1.0)])):
            engine = Engine.open(gguf, n_ctx=64, n_threads=1, max_outputs=64, low_rank=changes(gguf, adapters))
            got[name] = engine.all_logits(ids)
            engine.close()
    want = np.load(tmp_path / "there.npy")
    assert nmse(got["adapted"], want) < 1e-5 and nmse(got["plain"], want) > 1e-2


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--type", "q8_0"), 2, "are stored as floats"),
        (("--lora", "x"), 2, "give one of them"),
        ((), 5, "changes no tensor"),
    ],
)
def test_adapters_that_are_not_written(
    more: tuple[str, ...], code: int, words: str, folder: tuple[Path, dict[str, Any]], tmp_path: Path, said: Said
) -> None:
    path, config = folder
    assert said("convert", path, tmp_path / "model.gguf", "--type", "f32", "-q")[0] == 0
    peft = write_peft(tmp_path / "peft", config)
    if not more:
        (peft / "adapter_model.safetensors").write_bytes(safetensors_bytes({}))
    got = said("convert", peft, tmp_path / "made.gguf", "--base", tmp_path / "model.gguf", *more)
    assert got[0] == code and words in got[2], got
    assert not (tmp_path / "made.gguf").exists()
