"""The text model inside a folder for images or sound: the same file as of its own folder, or a clear refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from families import draw, golden, settings
from families.converted import write_tokenizer
from safetensors.numpy import save_file

from llmlocal.convert.hf_source import open_hf
from llmlocal.errors import BadFileError
from llmlocal.hf.folder import Folder
from llmlocal.hf.text_part import text_defaults
from llmlocal.models import find
from llmlocal.quantize.convert import convert_model

CASE = "llama"
NAMINGS: dict[str, Callable[[str], str]] = {
    "all of it inside": lambda name: f"language_model.{name}",
    "head outside": lambda name: name.replace("model.", "model.language_model."),
    "text_model": lambda name: name.replace("model.", "model.text_model."),
    "plain": lambda name: name,
}


def write(folder: Path, config: dict[str, object], renamed: Callable[[str], str], *, towers: bool = True) -> Path:
    """A folder with the case's weights under other names, and two tensors of a part for images."""
    folder.mkdir()
    tensors = {renamed(name): np.ascontiguousarray(draw(CASE, name, shape)) for name, shape in golden(CASE)[0].items()}
    if towers:
        tensors |= {f"{of}.weight": np.ones((3, 4), np.float32) for of in ("vision_tower.patch_conv", "vision_proj.fc")}
    if towers and renamed is NAMINGS["plain"]:
        del tensors["vision_proj.fc.weight"]
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder)
    return folder


def wrapper(**inner: object) -> dict[str, object]:
    text = {name: value for name, value in settings(CASE).items() if name != "architectures"}
    return {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {}, "text_config": text | inner}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("alone") / "f", settings(CASE), NAMINGS["plain"], towers=False)
    return convert_model(folder, folder / "m.gguf", "F32").path


@pytest.mark.parametrize("naming", NAMINGS)
def test_the_file_is_that_of_the_text_model_alone(naming: str, alone: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "f", wrapper(), NAMINGS[naming])
    with open_hf(folder) as source:
        assert source.notes[0] == "of 'LlavaForConditionalGeneration' the text model is converted, LlamaForCausalLM"
        assert any("for images or sound are left out" in note for note in source.notes)
    path = convert_model(folder, tmp_path / "m.gguf", "F32").path
    assert path.read_bytes() == alone.read_bytes()


def test_what_the_outer_config_says_of_tied_embeddings_counts(tmp_path: Path) -> None:
    """As in transformers; the text model's own config says that they are not tied."""
    folder = write(tmp_path / "f", wrapper() | {"tie_word_embeddings": False}, NAMINGS["head outside"])
    with open_hf(folder) as source:
        assert "output.weight" in source.held
    for config, outer in ((wrapper(), "stated"), (wrapper(), "left out")):
        without = {name: x for name, x in golden(CASE)[0].items() if name != "lm_head.weight"}
        tensors = {NAMINGS["head outside"](name): draw(CASE, name, shape) for name, shape in without.items()}
        save_file(tensors, folder / "model.safetensors")
        stated = {"tie_word_embeddings": True} if outer == "stated" else {}
        (folder / "config.json").write_text(json.dumps(config | stated))
        with open_hf(folder) as source:
            assert "output.weight" not in source.held


def test_the_text_config_may_name_its_class(tmp_path: Path) -> None:
    """It counts before the kind: a sliding window is of Mistral alone."""
    inner = {"architectures": ["MistralForCausalLM"], "rope_scaling": None, "sliding_window": 8}
    folder = write(tmp_path / "f", wrapper(**inner), NAMINGS["head outside"])
    with open_hf(folder) as source:
        assert source.values["llama.attention.sliding_window"] == 8


def test_sizes_that_a_config_leaves_out_are_those_of_transformers(tmp_path: Path) -> None:
    """LLaVA 1.5 says no more of its text model than that it is a Llama with another vocabulary."""
    config = {"architectures": ["LlavaForConditionalGeneration"], "text_config": {"model_type": "llama"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    s = find("llama", "").CONVERSION.settings(Folder(tmp_path), "LlamaForCausalLM")
    assert [s.integer(name) for name in ("hidden_size", "num_hidden_layers", "intermediate_size")] == [4096, 32, 11008]
    assert text_defaults({"text_config": {"model_type": "gpt2"}}) == {}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("PaliGemmaForConditionalGeneration", "gemma"),  # it reads its prompt in both directions
        ("MllamaForConditionalGeneration", "mllama_text_model"),
        ("LlavaForSequenceClassification", "llama"),
    ],
)
def test_others_are_refused(name: str, kind: str, tmp_path: Path) -> None:
    config = {"architectures": [name], "text_config": {"model_type": kind}}
    folder = write(tmp_path / "f", config, NAMINGS["plain"])
    with pytest.raises(BadFileError, match=f"'{name}' is not supported"), open_hf(folder):
        pass
