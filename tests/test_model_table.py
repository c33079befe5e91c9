"""README and docs/models.md list what runs: the registry, no more and no less."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from llmlocal import models

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model_table = import_module("make_model_table")
OWN = {"albert", "deberta", "deberta-v2", "gptneo", "hyperclovax", "opt", "persimmon", "xlnet"}  # GGUF has no name
OWN |= {"lfm3", "nanochat", "vaultgemma"}
NEWER = {
    "cohere2moe",
    "gemma4-assistant",
    "granite_swa",
    "hy_v3",
    "laguna",
    "mellum",
    "muse-glimmer",
}  # of llama.cpp since the release of gguf that the tests install


def test_documents_list_the_models_that_run() -> None:
    readme, document = make_model_table.README.read_text(), make_model_table.DOCUMENT.read_text()
    assert make_model_table.replaced(readme, make_model_table.names_by_kind()) == readme, (
        "run tools/make_model_table.py"
    )
    assert make_model_table.replaced(document, make_model_table.table()) == document, "run tools/make_model_table.py"
    for name in models.names():
        assert f"`{name}`" in readme and f"| `{name}` | " in document


def test_names_are_files_and_known_to_gguf() -> None:
    import gguf

    named = {name for name in models.names() if models.find(name, "").CONVERSION.named_as}
    assert set(models.names()) - named <= set(gguf.MODEL_ARCH_NAMES.values())
    assert named == OWN | NEWER  # the former are described in docs
    assert {"llama", "command-r", "gpt-oss"} <= set(models.names())
