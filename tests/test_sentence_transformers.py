"""What sentence-transformers keeps beside a model: prompts, poolings, matrices."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import draw
from safetensors.numpy import save_file
from vector_models import MODULES, PROMPTS, SPECIAL, TEXT_IDS, write_model, write_sentence_files

from llmlocal.convert.hf_source import open_hf
from llmlocal.embedding.embedder import Embedder
from llmlocal.encoder import Encoder
from llmlocal.errors import BadFileError
from llmlocal.gguf import open_gguf
from llmlocal.quantize.convert import convert_model

Said = Callable[..., tuple[int, str, str]]


def test_sentence_transformers_files_are_carried_over(bert: Path) -> None:
    with open_gguf(bert) as gguf:
        m = gguf.metadata
        assert m["bert.pooling_type"] == 1 and m["sentence_transformers.normalize"] is True
        assert m["sentence_transformers.max_seq_length"] == 20 and m["bert.attention.causal"] is False
        assert list(m["sentence_transformers.prompt_names"]) == list(PROMPTS)
        assert list(m["sentence_transformers.prompts"]) == list(PROMPTS.values())
        tokens = list(m["tokenizer.ggml.tokens"])
        assert tokens[: len(SPECIAL) + 6] == [*SPECIAL, "▁a", "▁cat", "▁dog", "▁the", "▁sat", "s"]


@pytest.mark.parametrize("default", [[], {}, 5, "other"])
def test_a_default_prompt_that_is_no_name_is_left_out(default: Any, tmp_path: Path) -> None:
    write_sentence_files(write_model("bert", tmp_path))
    config = {"prompts": PROMPTS, "default_prompt_name": default}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(config))
    with open_hf(tmp_path) as source:
        assert "sentence_transformers.default_prompt_name" not in source.values


@pytest.mark.parametrize(
    ("pooling", "kind"),
    [
        ({"pooling_mode": "cls"}, 2),
        ({"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}, 3),
        ({"pooling_mode": "max"}, None),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, None),
        ({"pooling_mode": "mean", "include_prompt": False}, None),
        ({}, None),
    ],
)
def test_poolings(pooling: dict[str, Any], kind: int | None, tmp_path: Path) -> None:
    write_sentence_files(write_model("bert", tmp_path), pooling=pooling, modules=MODULES[:2])
    if kind is None:
        with pytest.raises(BadFileError, match="pooling"), open_hf(tmp_path):
            pytest.fail("the folder was accepted")
        return
    with open_hf(tmp_path) as source:
        assert source.values["bert.pooling_type"] == kind and not source.values["sentence_transformers.normalize"]


def test_matrices_after_pooling(tmp_path: Path) -> None:
    """EmbeddingGemma's two Dense modules: what they make of the mean states is the vector."""
    folder = write_model("gemma-embedding", tmp_path)
    first, second = draw("dense", "first", (48, 32)), draw("dense", "second", (24, 48))
    write_sentence_files(folder)
    names = {"2_Dense": first, "3_Dense": second}
    for name, matrix in names.items():
        (folder / name).mkdir()
        save_file({"linear.weight": matrix}, folder / name / "model.safetensors")
        (folder / name / "config.json").write_text(
            json.dumps({"bias": False, "activation_function": "torch.nn.Identity"})
        )
    dense = [{"type": "sentence_transformers.models.Dense", "path": name} for name in names]
    pooling = [MODULES[0] | {"path": ""}, MODULES[1] | {"path": "1_Pooling"}]
    (folder / "modules.json").write_text(json.dumps([*pooling, *dense]))
    path = convert_model(folder, folder / "m.gguf", "F32").path
    with open_gguf(path) as gguf, Embedder.open(path, n_threads=1) as embedder:
        assert gguf.metadata["gemma-embedding.dense_2_feat_out"] == 48 and embedder.width == 24
        encoder = Encoder(gguf, "mean", 48, 1)
        want = encoder.run([TEXT_IDS[0]]) @ first.T @ second.T
        encoder.close()
        (got,) = embedder.embed(["a cat"])
    np.testing.assert_allclose(got.rows, want, rtol=1e-4, atol=1e-5)
    (folder / "2_Dense" / "config.json").write_text(json.dumps({"bias": True}))
    with pytest.raises(BadFileError, match="bias"), open_hf(folder):
        pytest.fail("the folder was accepted")


@pytest.mark.parametrize("modules", [[*MODULES, {"type": "a.Dense"}], {"a": 1}, [{"type": 3}], "x"])
def test_modules_that_are_not_known(modules: Any, tmp_path: Path) -> None:
    write_sentence_files(write_model("bert", tmp_path))
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(BadFileError, match="modules"), open_hf(tmp_path):
        pytest.fail("the folder was accepted")


def test_a_pooling_folder_outside_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write_sentence_files(write_model("bert", folder))
    (tmp_path / "config.json").write_text('{"pooling_mode": "mean"}')
    (folder / "modules.json").write_text(json.dumps([MODULES[1] | {"path": ".."}]))
    with pytest.raises(BadFileError, match="outside"), open_hf(folder):
        pytest.fail("the folder was accepted")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bert.pooling_type", 9),
        ("bert.pooling_type", "mean"),
        ("sentence_transformers.normalize", 1),
        ("sentence_transformers.prompts", ["one"]),
        ("sentence_transformers.prompts", 5),
        ("sentence_transformers.max_seq_length", "long"),
        ("bert.attention.causal", True),
    ],
)
def test_damaged_settings_of_vectors(said: Said, bert: Path, tmp_path: Path, key: str, value: Any) -> None:
    from llmlocal.gguf.writer import write_gguf

    with open_gguf(bert) as gguf:
        write_gguf(tmp_path / "m.gguf", {**gguf.metadata.raw(), key: value}, gguf.tensors.values())
    code, _, err = said("embed", tmp_path / "m.gguf", "a")
    assert code == 5 and key.rpartition(".")[2] in err
