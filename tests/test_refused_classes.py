"""Every class of a model of text that transformers or llama.cpp know is converted, or refused in one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmlocal.convert.hf_source import classes, open_hf
from llmlocal.errors import BadFileError

KNOWN = json.loads((Path(__file__).parent / "golden/classes.json").read_text())


def refusal(folder: Path, name: str) -> BadFileError:
    (folder / "config.json").write_text(json.dumps({"architectures": [name]}))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(BadFileError) as caught, open_hf(folder):
        pass
    return caught.value


@pytest.mark.parametrize("step", [10, pytest.param(1, marks=pytest.mark.slow)])
def test_refusals_are_one_line_with_what_to_do(step: int, tmp_path: Path) -> None:
    supported = classes()
    for name in sorted({name for names in KNOWN.values() for name in names} - supported.keys())[::step]:
        error = refusal(tmp_path, name)
        assert str(error) == f"{tmp_path}/config.json: {name!r} is not supported"
        assert error.hint and "\n" not in error.hint and len(error.hint) < 160, error.hint


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("LlamaForSequenceClassification", "of this family LlamaForCausalLM, LlamaModel can be converted"),
        ("DeepseekV3ForSequenceClassification", "of this family DeepseekV3ForCausalLM can be converted"),
        ("BartForConditionalGeneration", "the README lists the models that run"),
    ],
)
def test_a_class_of_a_known_family_is_told_of_the_others(name: str, hint: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, name).hint.startswith(hint)
